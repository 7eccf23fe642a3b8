package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
)

// A wave is the news of one Join on its way to the drivers of all other nodes of the network.
type wave struct {
	begin time.Time
	took  time.Duration // complete when done is closed
	done  chan struct{}

	waits map[int]bool // guarded by waves.mu: numbers of the nodes whose drivers have not been told
}

// waves follows those that are under way. It is safe for concurrent use.
type waves struct {
	mu       sync.Mutex // guards underWay
	underWay map[drivers.EndpointID]*wave
}

func newWaves() *waves { return &waves{underWay: make(map[drivers.EndpointID]*wave)} }

// begin starts a wave, now, that ends when all those nodes but the origin have been told.
func (w *waves) begin(id drivers.EndpointID, origin int, nodes []int) *wave {
	waits := make(map[int]bool, len(nodes))
	for _, n := range nodes {
		if n != origin {
			waits[n] = true
		}
	}
	fresh := &wave{begin: time.Now(), done: make(chan struct{}), waits: waits}
	if len(waits) == 0 {
		close(fresh.done)
		return fresh
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underWay[id] = fresh
	return fresh
}

// told notes that the driver of a node has been told of these peers.
func (w *waves) told(node int, peers []drivers.Peer) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range peers {
		at, ok := w.underWay[p.Endpoint]
		if !ok {
			continue
		}
		delete(at.waits, node)
		if len(at.waits) == 0 {
			at.took = now.Sub(at.begin)
			delete(w.underWay, p.Endpoint)
			close(at.done)
		}
	}
}

// wait returns how long the wave took, once it has reached everybody.
func (w *waves) wait(ctx context.Context, at *wave) (time.Duration, error) {
	select {
	case <-at.done:
		return at.took, nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return 0, fmt.Errorf("%d nodes have not been told after %s: %w", len(at.waits), time.Since(at.begin).Round(time.Millisecond), ctx.Err())
}
