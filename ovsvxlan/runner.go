package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// runner makes many callers share few passes. A caller changes the desired state first, then names what it changed;
// the next pass brings everything named since the last one to the host at once. Fifty callers that come while a pass
// runs are served by one more pass.
type runner[K comparable] struct {
	// pass brings the keys up to date and returns the errors of those that failed.
	pass func(ctx context.Context, keys []K) map[K]error

	mu      sync.Mutex // guards waiting, order and closed
	waiting map[K][]chan<- error
	order   []K
	closed  bool

	kick   chan struct{} // holds one token while something waits
	cancel context.CancelFunc
	done   chan struct{}
	passes atomic.Uint64
}

func newRunner[K comparable](pass func(context.Context, []K) map[K]error) *runner[K] {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner[K]{
		pass:    pass,
		waiting: map[K][]chan<- error{},
		kick:    make(chan struct{}, 1),
		cancel:  cancel,
		done:    make(chan struct{}),
	}
	go r.loop(ctx)
	return r
}

// do waits for the first pass that starts after the call and serves keys. When ctx ends first the change is made all
// the same, only unobserved: what is desired does not depend on who waits for it.
func (r *runner[K]) do(ctx context.Context, keys ...K) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	result := make(chan error, len(keys))
	if err := r.enqueue(keys, result); err != nil {
		return err
	}
	var errs []error
	for range keys {
		select {
		case err := <-result:
			errs = append(errs, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

func (r *runner[K]) enqueue(keys []K, result chan<- error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("switch: %w", errdefs.ErrClosed)
	}
	for _, k := range keys {
		if len(r.waiting[k]) == 0 {
			r.order = append(r.order, k)
		}
		r.waiting[k] = append(r.waiting[k], result)
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return nil
}

func (r *runner[K]) loop(ctx context.Context) {
	defer close(r.done)
	for {
		select {
		case <-ctx.Done():
		case <-r.kick:
		}
		if ctx.Err() != nil {
			r.refuse()
			return
		}
		keys, waiting := r.take()
		if len(keys) == 0 {
			continue
		}
		r.passes.Add(1)
		errs := r.pass(ctx, keys)
		for k, results := range waiting {
			for _, c := range results {
				c <- errs[k]
			}
		}
	}
}

func (r *runner[K]) take() ([]K, map[K][]chan<- error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys, waiting := r.order, r.waiting
	r.order, r.waiting = nil, map[K][]chan<- error{}
	return keys, waiting
}

// refuse ends the wait of callers that came too late.
func (r *runner[K]) refuse() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	_, waiting := r.take()
	for _, results := range waiting {
		for _, c := range results {
			c <- fmt.Errorf("switch: %w", errdefs.ErrClosed)
		}
	}
}

// close stops the running pass and waits for it.
func (r *runner[K]) close() {
	r.cancel()
	<-r.done
}

// failAll is the outcome of a pass in which every key failed for the same reason.
func failAll[K comparable](keys []K, err error) map[K]error {
	errs := make(map[K]error, len(keys))
	for _, k := range keys {
		errs[k] = err
	}
	return errs
}

// bisect calls commit with all keys. When that is refused it tries halves, so that one bad key costs its neighbours a
// few more commits but not their success. refused says whether an error blames the content of the commit.
func bisect[K comparable](keys []K, commit func([]K) error, refused func(error) bool) map[K]error {
	err := commit(keys)
	switch {
	case err == nil:
		return nil
	case len(keys) < 2 || !refused(err):
		return failAll(keys, err)
	}
	half := len(keys) / 2
	errs := bisect(keys[:half], commit, refused)
	if errs == nil {
		errs = map[K]error{}
	}
	maps.Copy(errs, bisect(keys[half:], commit, refused))
	return errs
}
