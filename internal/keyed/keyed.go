// Package keyed orders work: pieces with the same key run one after the other, others in parallel.
//
// It guards no data and may therefore be held across slow calls, where a mutex may not. Waiting ends with the context.
package keyed

import (
	"context"
	"fmt"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Queue is a set of keys with someone working. The zero value is ready for use.
type Queue struct {
	mu   sync.Mutex // guards busy
	busy map[string]*turn
}

type turn struct {
	token   chan struct{} // holds one element while somebody works
	waiters int           // including the one who works
}

// Lock waits for the key's turn. The caller calls release once. When ctx ends first, the error wraps ctx's and
// ErrUnavailable: what it waited for may itself have waited for a store that was away.
func (q *Queue) Lock(ctx context.Context, key string) (release func(), err error) {
	q.mu.Lock()
	if q.busy == nil {
		q.busy = make(map[string]*turn)
	}
	t := q.busy[key]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		q.busy[key] = t
	}
	t.waiters++
	q.mu.Unlock()

	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; q.drop(key, t) }, nil
	case <-ctx.Done():
		q.drop(key, t)
		return nil, fmt.Errorf("wait for the end of another call: %w: %w", ctx.Err(), errdefs.ErrUnavailable)
	}
}

func (q *Queue) drop(key string, t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.waiters--; t.waiters == 0 {
		delete(q.busy, key)
	}
}
