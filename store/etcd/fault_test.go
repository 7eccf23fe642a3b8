package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
)

// follower is a watch of a whole store.
type follower struct {
	events chan store.Event
	err    chan error // capacity 1
}

func follow(t *testing.T, s *etcd.Store, after store.Rev) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{events: make(chan store.Event, 10000), err: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range s.Watch(ctx, "", after) {
			if err != nil {
				f.err <- err
				return
			}
			f.events <- e
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// next returns the next change.
func (f *follower) next(t *testing.T) store.Event {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-f.events:
			if e.Key != "" {
				return e
			}
		case err := <-f.err:
			t.Fatalf("watch ended: %v", err)
		case <-timeout:
			t.Fatalf("no change for %v", patience)
		}
	}
}

// load commits from several writers until it is stopped, and knows what was acknowledged.
type load struct {
	stop context.CancelFunc
	wg   sync.WaitGroup
	mu   sync.Mutex // guards acked
	// acked has what must exist. An unacknowledged commit may exist too.
	acked map[string]store.Rev
}

func startLoad(t *testing.T, s *etcd.Store, name string) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{stop: cancel, acked: map[string]store.Rev{}}
	for w := range 4 {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%s/%d/%d", name, w, i)
				rev, err := s.Commit(ctx, []store.Guard{store.Absent(key)}, store.Put(key, []byte(key)))
				switch {
				case err == nil:
					l.mu.Lock()
					l.acked[key] = rev
					l.mu.Unlock()
				case !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled):
					t.Errorf("commit %s: %v", key, err)
					return
				}
			}
		})
	}
	t.Cleanup(func() { l.stop(); l.wg.Wait() })
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// more waits until n more commits are acknowledged and returns how long that took.
func (l *load) more(t *testing.T, n int) time.Duration {
	t.Helper()
	start, want := time.Now(), l.count()+n
	testutil.Eventually(t, patience, func() error {
		if got := l.count(); got < want {
			return fmt.Errorf("%d commits acknowledged, want %d", got, want)
		}
		return nil
	})
	return time.Since(start)
}

func TestClusterFaultsLoseNothing(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{Members: 3})
	// What is on its way to a leader that dies waits for its timeout.
	s := newStore(t, cluster, etcd.WithTimeout(2*time.Second))
	defer closeStore(t, s)
	_, from, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	early := follow(t, s, from)
	l := startLoad(t, s, "load")
	l.more(t, 50)

	leader := cluster.Leader(t.Context(), t)
	cluster.Kill(leader)
	t.Logf("50 commits after the leader was killed took %v", l.more(t, 50))
	cluster.Start(leader)
	l.more(t, 20)

	leader = cluster.Leader(t.Context(), t)
	cluster.Pause(leader)
	t.Logf("5 commits after the leader was paused took %v", l.more(t, 5))
	cluster.Resume(leader)
	l.more(t, 20)

	for i := range 3 {
		cluster.Kill(i)
	}
	cluster.Start()
	took := l.more(t, 50)
	t.Logf("50 commits after all members were back took %v", took)
	if took > 10*time.Second {
		t.Errorf("commits took %v to go on after all members were back", took)
	}
	l.stop()
	l.wg.Wait()

	recs, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]store.Record{}
	var last store.Rev
	for _, r := range recs {
		have[r.Key] = r
		last = max(last, r.Rev)
	}
	for key, rev := range l.acked {
		if r := have[key]; r.Rev != rev || string(r.Value) != key {
			t.Errorf("acknowledged %s at %d is %q at %d", key, rev, r.Value, r.Rev)
		}
	}
	// Only creations happened, so a complete watch has each record once.
	for name, f := range map[string]*follower{"running watch": early, "watch from the past": follow(t, s, from)} {
		seen := map[string]store.Rev{}
		for rev := store.Rev(0); rev < last; {
			e := f.next(t)
			if e.Rev <= rev || seen[e.Key] != 0 || e.Rev != have[e.Key].Rev {
				t.Fatalf("%s: %s at %d comes after revision %d, seen before at %d", name, e.Key, e.Rev, rev, seen[e.Key])
			}
			seen[e.Key], rev = e.Rev, e.Rev
		}
		if len(seen) != len(have) {
			t.Errorf("%s saw %d of %d records", name, len(seen), len(have))
		}
	}
	t.Logf("%d commits acknowledged, %d records", len(l.acked), len(have))
}

func TestWatchMissedByCompaction(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	p := newProxy(t, cluster.Endpoints()[0])
	s, err := etcd.New(t.Context(), clientv3.Config{Endpoints: []string{p.endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	direct := newStore(t, cluster)
	defer closeStore(t, direct)
	f := follow(t, s, 0)
	put := func(key string) store.Rev {
		t.Helper()
		rev, err := direct.Commit(t.Context(), nil, store.Put(key, nil))
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	put("a")
	f.next(t)

	// Away without a compaction: nothing is missed.
	p.set(false, true)
	put("b")
	p.set(false, false)
	if e := f.next(t); e.Key != "b" {
		t.Errorf("after a broken connection the watch saw %+v", e)
	}

	// Away while history is compacted: it says so.
	p.set(false, true)
	put("c")
	rev := put("d")
	if _, err := cluster.Client(t).Compact(t.Context(), int64(rev)); err != nil {
		t.Fatal(err)
	}
	p.set(false, false)
	select {
	case err := <-f.err:
		if !errors.Is(err, store.ErrCompacted) {
			t.Errorf("watch ended with %v, want ErrCompacted", err)
		}
	case <-time.After(patience):
		t.Errorf("watch has not noticed the compaction; it saw %d events", len(f.events))
	}
}

func TestIdleWatchLearnsTheRevision(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{Progress: 100 * time.Millisecond})
	s := newStore(t, cluster)
	defer closeStore(t, s)
	rev, err := s.Commit(t.Context(), nil, store.Put("other/a", nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for e, err := range s.Watch(ctx, "mine/", 0) {
		if err != nil || e.Key != "" || e.Rev < rev {
			t.Errorf("got %+v, %v, want a revision of at least %d", e, err, rev)
		}
		break
	}
}

func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second // etcd grants no less with its election timeout
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	s, other := newStore(t, cluster, etcd.WithTimeout(time.Second)), newStore(t, cluster)
	defer closeStore(t, s)
	defer closeStore(t, other)
	leased := func(s *etcd.Store, key string) store.Lease {
		t.Helper()
		l, err := s.Grant(t.Context(), ttl)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context(), nil, store.PutLeased(key, nil, l)); err != nil {
			t.Fatal(err)
		}
		return l
	}
	gone := func(key string) {
		t.Helper()
		testutil.Eventually(t, patience, func() error {
			if _, err := other.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("get %s: %w", key, err)
			}
			return nil
		})
	}
	client := cluster.Client(t)
	dying, err := etcd.FromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	l, dead := leased(s, "kept"), leased(dying, "dead")

	// A process that dies takes its records with it, after the time to live; another's stay.
	if err := client.Lease.Close(); err != nil {
		t.Fatal(err)
	}
	<-dead.Done()
	gone("dead")
	if _, err := other.Get(t.Context(), "kept"); err != nil {
		t.Errorf("a lease that is kept alive lost its record: %v", err)
	}

	// Etcd away for longer than the time to live. A revoke that does not reach it lets the lease expire all the same, and
	// Close does not need it.
	revoked, left := leased(s, "revoked"), newStore(t, cluster)
	leased(left, "left")
	cluster.Pause(0)
	start := time.Now()
	if err := revoked.Revoke(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("revoke while etcd is away: got %v, want ErrUnavailable", err)
	}
	select {
	case <-revoked.Done():
	default:
		t.Error("a lease that was given up is still kept alive")
	}
	if err := left.Close(); err != nil {
		t.Errorf("close while etcd is away: %v", err)
	}
	select {
	case <-l.Done():
		if took := time.Since(start); took < ttl/4 {
			t.Errorf("lease was given up after %v already", took)
		}
	case <-time.After(patience):
		t.Error("lease has not ended")
	}
	if _, err := s.Commit(t.Context(), nil, store.PutLeased("late", nil, l)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("put under a lost lease: got %v, want ErrNotFound", err)
	}
	cluster.Resume(0)
	gone("kept")
	gone("revoked")
	gone("left")
	closeStore(t, dying)
}
