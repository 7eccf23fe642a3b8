package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// ErrDamaged is wrapped, with ErrUnavailable, when the file is not what was written: cut short, altered or not a store.
var ErrDamaged = errors.New("damaged")

// Store implements store.Store and store.Leaser.
type Store struct {
	path    string
	file    *os.File // held by db too, and closed by it
	db      *bbolt.DB
	history *history
	journal *journal // for the writer's goroutine
	writer  *writer

	// broken is set once a read of the mapped file has failed: bbolt may then hold its locks forever.
	broken atomic.Pointer[error]

	mu      sync.Mutex // guards what follows
	closed  bool
	leases  map[*lease]struct{} // those whose done is open
	leaseID uint64              // the last one granted since Open
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Leaser = (*Store)(nil)
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	var rec store.Record
	err := s.view(ctx, func(t *txn) error {
		var err error
		rec, err = t.get(key)
		return err
	})
	if err != nil {
		return store.Record{}, fmt.Errorf("get %s: %w", key, err)
	}
	return rec, nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Record, store.Rev, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, 0, err
	}
	var recs []store.Record
	var rev store.Rev
	err := s.view(ctx, func(t *txn) error {
		rev = t.state.rev
		p := []byte(prefix)
		c := t.records.Cursor()
		for k, raw := c.Seek(p); k != nil && bytes.HasPrefix(k, p); k, raw = c.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			rec, err := decodeRecord(k, raw)
			if err != nil {
				return err
			}
			recs = append(recs, rec)
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list %q: %w", prefix, err)
	}
	return recs, rev, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, guards []store.Guard, ops ...store.Op) (store.Rev, error) {
	if err := store.CheckCommit(guards, ops); err != nil {
		return 0, err
	}
	guards, ops = cloneCommit(guards, ops)
	rev, err := s.writer.submit(ctx, func(t *txn) error { return t.commit(s, guards, ops) })
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	return rev, nil
}

// cloneCommit copies what the caller may change as soon as Commit returns, which can be before the writer is done.
func cloneCommit(guards []store.Guard, ops []store.Op) ([]store.Guard, []store.Op) {
	guards = append([]store.Guard(nil), guards...)
	ops = append([]store.Op(nil), ops...)
	for i := range ops {
		ops[i].Value = bytes.Clone(ops[i].Value)
	}
	return guards, ops
}

// Close implements store.Store. It deletes leased records; if that fails the next Open does.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("close store %s: %w", s.path, errdefs.ErrClosed)
	}
	s.closed = true
	for l := range s.leases {
		close(l.done)
	}
	clear(s.leases)
	s.mu.Unlock()

	s.history.close()
	err := s.writer.close()
	err = errors.Join(err, s.release())
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// release closes the file.
func (s *Store) release() error {
	if s.broken.Load() == nil {
		return s.db.Close()
	}
	// bbolt's own Close could wait for ever. The mapping stays until the process ends, and would keep the lock.
	return errors.Join(unix.Flock(int(s.file.Fd()), unix.LOCK_UN), s.file.Close())
}

// view runs f in a read transaction. What it reads must be copied before f returns.
func (s *Store) view(ctx context.Context, f func(*txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.guard(func() error {
		err := s.db.View(func(tx *bbolt.Tx) error {
			t, err := newTxn(tx)
			if err != nil {
				return err
			}
			return f(t)
		})
		if errors.Is(err, berrors.ErrDatabaseNotOpen) {
			return errdefs.ErrClosed
		}
		return err
	})
	if errors.Is(err, ErrDamaged) {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	return err
}

// guard runs f, which reads the mapped file, and makes an error of a page that cannot be read: the file was cut short
// under the process, or the disk is bad. Without it either would kill the whole process.
func (s *Store) guard(f func() error) (err error) {
	if broken := s.broken.Load(); broken != nil {
		return *broken
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be read: %v: %w: %w", r, ErrDamaged, errdefs.ErrUnavailable)
			s.broken.CompareAndSwap(nil, &err)
		}
	}()
	err = f()
	if errors.Is(err, ErrDamaged) && !errors.Is(err, errdefs.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	return err
}
