// Package keyed orders work: pieces with the same key run one after the other, others in parallel.
//
// It guards no data and may therefore be held across slow calls, where a mutex may not. Waiting ends with the context.
package keyed

import (
	"context"
	"sync"
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

// Lock waits for the key's turn, or for the end of ctx, whose error it then returns. The caller calls release once.
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
		return nil, ctx.Err()
	}
}

func (q *Queue) drop(key string, t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.waiters--; t.waiters == 0 {
		delete(q.busy, key)
	}
}
