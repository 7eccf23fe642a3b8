package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/testutil/agent"
)

// worker is a contender's process: it does what it is told and says how long each thing took.
type worker struct {
	mu sync.Mutex // guards at
	at contender
}

// block is a number of endpoints, bench<First> and on, that are brought up or taken down, Parallel at a time.
type block struct{ First, Count, Parallel int }

const namePrefix = "bench"

func endpointName(i int) string { return namePrefix + strconv.Itoa(i) }

// timing is how long a block's endpoints took, each and together.
type timing struct {
	Each  []time.Duration
	Total time.Duration
}

type none struct{}

func (w *worker) handlers() map[string]agent.Handler {
	return map[string]agent.Handler{
		"open":   agent.Handle(w.open),
		"close":  agent.Handle(func(context.Context, none) (none, error) { return none{}, w.contender().Close() }),
		"up":     agent.Handle(func(ctx context.Context, b block) (timing, error) { return b.run(ctx, w.contender().Up) }),
		"down":   agent.Handle(func(ctx context.Context, b block) (timing, error) { return b.run(ctx, w.contender().Down) }),
		"place":  agent.Handle(w.place),
		"peers":  agent.Handle(programPeers),
		"memory": agent.Handle(func(context.Context, none) (int64, error) { return peakMemory() }),
	}
}

// open returns how long it took, which for a controller with a past is its restart.
func (w *worker) open(ctx context.Context, s setup) (time.Duration, error) {
	start := time.Now()
	// Where a controller lives must not depend on the request that started it.
	c, err := open(context.WithoutCancel(ctx), s)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", s.Kind, err)
	}
	took := time.Since(start)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = c
	return took, nil
}

// place finds the contender's endpoint of that number.
func (w *worker) place(_ context.Context, i int) (place, error) {
	c, ok := w.contender().(interface {
		place(name string) (place, error)
	})
	if !ok {
		return place{}, fmt.Errorf("place of endpoint %d: the contender does not tell, or has not been opened", i)
	}
	return c.place(endpointName(i))
}

func (w *worker) contender() contender {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil {
		return closed{}
	}
	return w.at
}

// run calls do for each endpoint of the block.
func (b block) run(ctx context.Context, do func(context.Context, string) error) (timing, error) {
	t := timing{Each: make([]time.Duration, b.Count)}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.Parallel)
	start := time.Now()
	for i := range b.Count {
		group.Go(func() error {
			begin := time.Now()
			name := endpointName(b.First + i)
			if err := do(ctx, name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			t.Each[i] = time.Since(begin)
			return nil
		})
	}
	err := group.Wait()
	t.Total = time.Since(start)
	return t, err
}

// peakMemory is the most that this process has had resident, and the most that one of those it has run had, in bytes.
func peakMemory() (int64, error) {
	own, err := memoryOf(os.Getpid(), "VmHWM")
	if err != nil {
		return 0, err
	}
	var children syscall.Rusage
	err = syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children)
	return own + children.Maxrss<<10, err
}

// closed is the contender of a worker that has opened none.
type closed struct{}

var errClosed = errors.New("no contender has been opened")

func (closed) Up(context.Context, string) error   { return errClosed }
func (closed) Down(context.Context, string) error { return errClosed }
func (closed) Close() error                       { return errClosed }
