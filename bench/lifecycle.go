package main

import (
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	sequentialBlock = 10
	parallelBlock   = 48
	parallelism     = 16
)

// lifecycle is what bringing endpoints up and taking them down costs a contender.
type lifecycle struct {
	Kind         string  `json:"contender"`
	Up           summary `json:"up"`
	Down         summary `json:"down"`
	ParallelUp   summary `json:"up_16_parallel"`
	ParallelDown summary `json:"down_16_parallel"`
	Forks        *int    `json:"forks_per_endpoint,omitempty"` // nil: not counted
	PeakMemory   int64   `json:"peak_memory_bytes"`
}

// measureLifecycle has the lanes take turns, reps times.
func measureLifecycle(t testutil.TB, cfg config, lanes []*lane) []lifecycle {
	t.Helper()
	type measured struct{ up, down, parallelUp, parallelDown series }
	all := make([]measured, len(lanes))
	for rep := range cfg.reps + 1 {
		for i := range lanes {
			i = (i + rep) % len(lanes) // nobody always follows the same neighbour
			l, m := lanes[i], &all[i]
			if rep == 0 {
				m = new(measured) // the first round fills caches and is not counted
			}
			settle(t)
			b, took := l.up(t, sequentialBlock, 1)
			m.up.add(took)
			m.down.add(l.down(t, b))
			settle(t)
			b, took = l.up(t, parallelBlock, parallelism)
			m.parallelUp.add(took)
			m.parallelDown.add(l.down(t, b))
		}
		cfg.progress("lifecycle: round %d of %d", rep, cfg.reps)
	}
	rows := make([]lifecycle, len(lanes))
	for i, l := range lanes {
		rows[i] = lifecycle{
			Kind: l.kind, Up: all[i].up.summary(), Down: all[i].down.summary(),
			ParallelUp: all[i].parallelUp.summary(), ParallelDown: all[i].parallelDown.summary(),
			PeakMemory: l.memory(t),
		}
	}
	return rows
}
