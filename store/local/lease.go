package local

import (
	"context"
	"fmt"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// lease lives as long as the store is open: a node's own store is away only when the node is.
type lease struct {
	store *Store
	id    uint64
	done  chan struct{}
}

// Grant implements store.Leaser. The lease does not expire by time.
func (s *Store) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	if err := store.CheckTTL(ttl); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("grant lease: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("grant lease: %w", errdefs.ErrClosed)
	}
	s.leaseID++
	l := &lease{store: s, id: s.leaseID, done: make(chan struct{})}
	s.leases[l] = struct{}{}
	return l, nil
}

// Done implements store.Lease.
func (l *lease) Done() <-chan struct{} { return l.done }

// Revoke implements store.Lease. It may be called again when it failed.
func (l *lease) Revoke(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("revoke lease: %w", err)
	}
	// The lease ends before its records go: a put that is queued behind the deletion must not succeed.
	s := l.store
	s.mu.Lock()
	if _, ok := s.leases[l]; ok {
		delete(s.leases, l)
		close(l.done)
	}
	s.mu.Unlock()
	if _, err := s.writer.submit(ctx, func(t *txn) error { return t.endLeases(l.id) }); err != nil {
		return fmt.Errorf("revoke lease: %w", err)
	}
	return nil
}

// checkLease returns an error unless l was granted by s and has not ended.
func (s *Store) checkLease(l store.Lease) error {
	mine, ok := l.(*lease)
	if !ok || mine.store != s {
		return fmt.Errorf("lease is of another store: %w", errdefs.ErrInvalid)
	}
	select {
	case <-mine.done:
		return fmt.Errorf("lease has ended: %w", errdefs.ErrNotFound)
	default:
		return nil
	}
}
