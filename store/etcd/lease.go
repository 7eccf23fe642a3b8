package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

// lease is an etcd lease with the goroutine that keeps it alive.
type lease struct {
	s      *Store
	id     clientv3.LeaseID
	cancel context.CancelFunc // stops keeping it alive
	done   chan struct{}      // closed by the goroutine at its end
}

// Grant implements store.Leaser. The ttl is rounded up to seconds, and etcd raises one that is shorter than its elections.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if err := store.CheckTTL(ttl); err != nil {
		return nil, err
	}
	var granted *clientv3.LeaseGrantResponse
	err := s.call(ctx, "grant lease", func(ctx context.Context) (err error) {
		return step.Do("grant lease in etcd", func() error {
			granted, err = s.client.Grant(ctx, int64((ttl+time.Second-1)/time.Second))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	keep, cancel := context.WithCancel(s.ctx)
	alive, err := s.client.KeepAlive(keep, granted.ID)
	if err != nil {
		cancel()
		return nil, s.failure(ctx, "keep lease alive", &reason{}, err)
	}
	l := &lease{s: s, id: granted.ID, cancel: cancel, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return nil, fmt.Errorf("grant lease: %w", errdefs.ErrClosed)
	}
	s.wg.Go(func() { l.run(alive) })
	return l, nil
}

// run follows the client's answers until there are no more: the lease was revoked, expired, or etcd was away for longer
// than its ttl.
func (l *lease) run(alive <-chan *clientv3.LeaseKeepAliveResponse) {
	for range alive {
	}
	l.cancel()
	close(l.done)
}

// Done implements store.Lease.
func (l *lease) Done() <-chan struct{} { return l.done }

// Revoke implements store.Lease. When etcd is away the lease is no longer kept alive all the same, and its records go when
// it expires.
func (l *lease) Revoke(ctx context.Context) error {
	err := l.s.call(ctx, "revoke lease", func(ctx context.Context) error {
		return step.Do("revoke lease in etcd", func() error {
			_, err := l.s.client.Revoke(ctx, l.id)
			return err
		})
	})
	l.cancel()
	<-l.done
	if errors.Is(err, errdefs.ErrNotFound) {
		return nil
	}
	return err
}

// checkLease returns l as one of s's own that has not ended.
func (s *Store) checkLease(l store.Lease) (*lease, error) {
	mine, ok := l.(*lease)
	if !ok || mine.s != s {
		return nil, fmt.Errorf("lease is of another store: %w", errdefs.ErrInvalid)
	}
	select {
	case <-mine.done:
		return nil, fmt.Errorf("lease has ended: %w", errdefs.ErrNotFound)
	default:
		return mine, nil
	}
}
