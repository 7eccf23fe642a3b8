package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

// maxGroup bounds how many commits share a transaction, and with it how long the first of them waits.
const maxGroup = 256

// writer owns the goroutine that writes. It takes everything that waits, so that commits which arrive while one is being
// synced to disk share the next sync; a single one is not delayed.
type writer struct {
	s    *Store
	wake chan struct{} // holds a token when the queue may not be empty
	done chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex // guards what follows
	queue  []*request
	closed bool

	closeErr error     // from the goroutine; read after done
	rev      store.Rev // the last one the history knows; only for the goroutine
}

// request is one commit on its way. run may be called more than once, each time in another transaction.
type request struct {
	run    func(*txn) error
	taken  atomic.Bool // set by the writer to do it, or by the caller to withdraw it
	result chan result // capacity 1
}

type result struct {
	rev store.Rev
	err error
}

func startWriter(s *Store, rev store.Rev) *writer {
	w := &writer{s: s, rev: rev, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go w.loop()
	return w
}

// submit hands run to the writer and waits for its transaction.
func (w *writer) submit(ctx context.Context, run func(*txn) error) (store.Rev, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	req := &request{run: run, result: make(chan result, 1)}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return 0, errdefs.ErrClosed
	}
	w.queue = append(w.queue, req)
	w.mu.Unlock()
	w.signal()
	select {
	case r := <-req.result:
		return r.rev, r.err
	case <-ctx.Done():
	}
	if req.taken.CompareAndSwap(false, true) {
		return 0, fmt.Errorf("not begun: %w: %w", ctx.Err(), errdefs.ErrUnavailable)
	}
	return 0, fmt.Errorf("being written, outcome unknown: %w: %w", ctx.Err(), errdefs.ErrUnavailable)
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // it has a token already
	}
}

// close refuses what has not begun, ends all leases and waits for the goroutine.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	<-w.done
	return w.closeErr
}

func (w *writer) loop() {
	defer close(w.done)
	for range w.wake {
		for {
			group, closed := w.take()
			if closed {
				for _, req := range group {
					req.result <- result{err: errdefs.ErrClosed}
				}
				w.closeErr = errors.Join(w.endAllLeases(), w.s.journal.close())
				return
			}
			if len(group) == 0 {
				break
			}
			w.write(group)
		}
	}
}

// take removes what waits from the queue: a group, or everything once the writer is closed.
func (w *writer) take() (group []*request, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.queue)
	if !w.closed {
		n = min(n, maxGroup)
	}
	for _, req := range w.queue[:n] {
		if req.taken.CompareAndSwap(false, true) {
			group = append(group, req)
		}
	}
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	// A group of withdrawn requests only is no reason to sleep while others wait.
	if len(group) == 0 && rest > 0 {
		w.signal()
	}
	return group, w.closed
}

// write commits a group. If its transaction fails, each request gets one of its own: a commit that finds no room must not
// take others with it, and a conflict with a commit that was not written is none.
func (w *writer) write(group []*request) {
	results, err := w.transact(group)
	if err != nil && len(group) > 1 {
		for _, req := range group {
			w.write([]*request{req})
		}
		return
	}
	for i, req := range group {
		if err != nil {
			req.result <- result{err: err}
		} else {
			req.result <- results[i]
		}
	}
}

// errUnchanged rolls back a transaction in which nothing changed, which saves the sync.
var errUnchanged = errors.New("unchanged")

// transact runs a group in one transaction. An error means that nothing of it is known to be written.
func (w *writer) transact(group []*request) ([]result, error) {
	results := make([]result, len(group))
	var changes []change
	err := w.s.guard(func() error {
		if err := w.s.catchUp(); err != nil {
			return err
		}
		update := func(tx *bbolt.Tx) error {
			t, err := newTxn(tx)
			if err != nil {
				return err
			}
			if t.state.rev != w.rev {
				// A sync that failed may have written all the same. Watches did not see that.
				w.rev = t.state.rev
				w.s.history.forget(w.rev)
				w.s.journal.behind = true
			}
			for i, req := range group {
				err := req.run(t)
				if errors.As(err, new(abandon)) {
					return err
				}
				results[i] = result{rev: t.state.rev, err: err}
			}
			if changes = t.changes; len(changes) == 0 {
				return errUnchanged
			}
			return t.save()
		}
		return step.Do("commit to local store", func() error { return w.s.db.Update(update) })
	})
	switch {
	case err == nil:
		w.rev = changes[len(changes)-1].rev
		w.s.history.append(changes)
		w.s.keep(changes)
	case errors.Is(err, errUnchanged):
	default:
		return nil, fmt.Errorf("write store %s: %w", w.s.path, unavailable(err))
	}
	return results, nil
}

// endAllLeases deletes all leased records.
func (w *writer) endAllLeases() error {
	results, err := w.transact([]*request{{run: func(t *txn) error { return t.endLeases(0) }}})
	if err != nil {
		return err
	}
	return results[0].err
}
