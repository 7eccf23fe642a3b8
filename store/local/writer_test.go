package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
)

const patience = 20 * time.Second

// openTest opens a new store that is closed with the test.
func openTest(t testing.TB, history int) *Store {
	t.Helper()
	s, err := open(t.Context(), t.TempDir()+"/test.db", history)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, errdefs.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// hold keeps the writer busy until the returned function is called.
func hold(s *Store) (release func()) {
	begun, end := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		s.writer.submit(context.Background(), func(*txn) error { //nolint:errcheck // it does nothing
			close(begun)
			<-end
			return nil
		})
	})
	<-begun
	return func() { close(end); wg.Wait() }
}

// queued waits until n commits wait for the writer.
func queued(t *testing.T, s *Store, n int) {
	t.Helper()
	testutil.Eventually(t, patience, func() error {
		s.writer.mu.Lock()
		defer s.writer.mu.Unlock()
		if len(s.writer.queue) != n {
			return fmt.Errorf("%d commits wait, want %d", len(s.writer.queue), n)
		}
		return nil
	})
}

// written counts the transactions that bbolt has written and synced.
func written(t *testing.T, s *Store) int {
	t.Helper()
	var id int
	if err := s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestWaitingCommitsShareOneSync(t *testing.T) {
	s := openTest(t, historySize)
	before := written(t, s)
	release := hold(s)
	const commits = 100
	revs := make([]store.Rev, commits)
	var wg sync.WaitGroup
	for i := range commits {
		wg.Go(func() {
			rev, err := s.Commit(t.Context(), nil, store.Put(fmt.Sprintf("k/%d", i), nil))
			if err != nil {
				t.Errorf("commit %d: %v", i, err)
			}
			revs[i] = rev
		})
	}
	queued(t, s, commits)
	release()
	wg.Wait()
	if n := written(t, s) - before; n != 1 {
		t.Errorf("%d commits took %d transactions, want 1", commits, n)
	}
	seen := map[store.Rev]bool{}
	for i, rev := range revs {
		if rec, err := s.Get(t.Context(), fmt.Sprintf("k/%d", i)); err != nil || rec.Rev != rev || seen[rev] {
			t.Errorf("commit %d has revision %d (used before: %t), its record %d, %v", i, rev, seen[rev], rec.Rev, err)
		}
		seen[rev] = true
	}
}

func TestConflictInAGroupHarmsNoOther(t *testing.T) {
	s := openTest(t, historySize)
	release := hold(s)
	errs := make([]error, 9)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			// All claim one of three names, and write a record of their own.
			_, errs[i] = s.Commit(t.Context(), []store.Guard{store.Absent(fmt.Sprintf("name/%d", i%3))},
				store.Put(fmt.Sprintf("own/%d", i), nil), store.Put(fmt.Sprintf("name/%d", i%3), nil))
		})
	}
	queued(t, s, len(errs))
	release()
	wg.Wait()
	var winners []string
	for i, err := range errs {
		if err == nil {
			winners = append(winners, fmt.Sprintf("own/%d", i))
		} else if !errors.Is(err, store.ErrConflict) {
			t.Errorf("claim %d: %v", i, err)
		}
	}
	recs, rev, err := s.List(t.Context(), "own/")
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, r := range recs {
		own = append(own, r.Key)
	}
	if got, want := strings.Join(own, " "), strings.Join(winners, " "); got != want || len(own) != 3 || rev != 3 {
		t.Errorf("at revision %d records of winners are %q, winners are %q", rev, got, want)
	}
}

func TestCommitThatWaitsCanBeWithdrawn(t *testing.T) {
	s := openTest(t, historySize)
	release := hold(s)
	ctx, cancel := context.WithCancel(t.Context())
	errc := make(chan error)
	go func() {
		_, err := s.Commit(ctx, nil, store.Put("a", nil))
		errc <- err
	}()
	queued(t, s, 1)
	cancel()
	err := <-errc // while the writer is still held
	if !errors.Is(err, context.Canceled) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "not begun") {
		t.Errorf("got %v", err)
	}
	release()
	if _, rev, err := s.List(t.Context(), ""); rev != 0 || err != nil {
		t.Errorf("a withdrawn commit was written: revision %d, %v", rev, err)
	}
}

func TestCloseRefusesWhatWaits(t *testing.T) {
	s := openTest(t, historySize)
	release := hold(s)
	errc := make(chan error)
	go func() {
		_, err := s.Commit(t.Context(), nil, store.Put("a", nil))
		errc <- err
	}()
	queued(t, s, 1)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	testutil.Eventually(t, patience, func() error {
		s.writer.mu.Lock()
		defer s.writer.mu.Unlock()
		if !s.writer.closed {
			return errors.New("close has not reached the writer")
		}
		return nil
	})
	if _, err := s.Commit(t.Context(), nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("commit while closing: %v", err)
	}
	release()
	if err := <-errc; !errors.Is(err, store.ErrClosed) {
		t.Errorf("waiting commit: got %v, want ErrClosed", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
}

// A watcher that does not read costs a bounded history and is told that it missed something.
func TestSlowWatchEnds(t *testing.T) {
	s := openTest(t, 4096)
	if _, err := s.Commit(t.Context(), nil, store.Put("a", nil)); err != nil {
		t.Fatal(err)
	}
	watched := 0
	for e, err := range s.Watch(t.Context(), "", 0) {
		if watched++; watched == 1 {
			if err != nil {
				t.Fatal(err)
			}
			for range 200 {
				if _, err := s.Commit(t.Context(), nil, store.Put("b", make([]byte, 100))); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		if err != nil {
			if !errors.Is(err, store.ErrCompacted) {
				t.Errorf("watch ended with %v, want ErrCompacted", err)
			}
			break
		}
		if e.Rev > 1 {
			t.Fatalf("watch went on with %+v", e)
		}
	}
	if s.history.size > 4096 || len(s.history.changes) > 40 {
		t.Errorf("history holds %d bytes in %d changes, limit 4096 bytes", s.history.size, len(s.history.changes))
	}
}

func BenchmarkCommit(b *testing.B) {
	value := make([]byte, 300)
	commit := func(b *testing.B, s *Store, key string) {
		if _, err := s.Commit(b.Context(), nil, store.Put(key, value)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("one at a time", func(b *testing.B) {
		s := openTest(b, historySize)
		for i := range b.N {
			commit(b, s, fmt.Sprintf("k/%d", i%1000))
		}
	})
	b.Run("64 at a time", func(b *testing.B) {
		s := openTest(b, historySize)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				commit(b, s, fmt.Sprintf("k/%d", i%1000))
			}
		})
	})
}

func BenchmarkOpen(b *testing.B) {
	path := b.TempDir() + "/test.db"
	s, err := Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 300 {
		var ops []store.Op
		for j := range 100 {
			ops = append(ops, store.Put(fmt.Sprintf("endpoints/%d/%d", i, j), make([]byte, 500)))
		}
		if _, err := s.Commit(b.Context(), nil, ops...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
