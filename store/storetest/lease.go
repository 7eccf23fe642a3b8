package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/store"
)

var leaseLaws = []law{
	{
		name:  "a lease keeps records until it is revoked",
		why:   "a node's records must go when the node does, and not before",
		check: leaseKeepsRecords,
	},
	{
		name:  "a record follows its last put",
		why:   "a lasting put makes a leased record lasting, and one under another lease moves it there",
		check: recordFollowsLastPut,
	},
	{
		name:  "an ended lease takes no records",
		why:   "a record under it would stay for ever",
		check: endedLeaseIsRefused,
	},
	{
		name:  "close lets go of leases",
		why:   "a node that does not come back is forgotten, and one that restarts is not missed",
		check: closeEndsLeases,
		needs: func(s *suite) bool { return s.reopen != nil },
	},
}

// grant returns a lease, or ends the law for a store without them.
func (k *checker) grant() store.Lease {
	k.Helper()
	return k.grantFor(10 * time.Second)
}

// shortLease is about the shortest that etcd keeps with elections of a second.
const shortLease = 2 * time.Second

func (k *checker) grantFor(ttl time.Duration) store.Lease {
	k.Helper()
	leaser, ok := k.Store.(store.Leaser)
	if !ok {
		k.Skip("the store has no leases")
	}
	l, err := leaser.Grant(k.ctx, ttl)
	if err != nil {
		k.Fatalf("grant: %v", err)
	}
	return l
}

func (k *checker) revoke(l store.Lease) {
	k.Helper()
	if err := l.Revoke(k.ctx); err != nil {
		k.Fatalf("revoke: %v", err)
	}
}

// isDone fails unless the lease has ended.
func (k *checker) isDone(l store.Lease) {
	k.Helper()
	select {
	case <-l.Done():
	case <-time.After(patience):
		k.Errorf("lease has not ended")
	}
}

func leaseKeepsRecords(k *checker) {
	l, other := k.grant(), k.grant()
	k.commit([]store.Guard{store.Absent("a")}, store.PutLeased("a", []byte("1"), l), store.Put("b", nil), store.PutLeased("c", nil, other))
	select {
	case <-l.Done():
		k.Fatal("a new lease has ended")
	default:
	}
	if r := k.get("a"); string(r.Value) != "1" {
		k.Errorf("leased record is %q", r.Value)
	}
	w := k.watch("", k.rev())
	k.revoke(l)
	k.isDone(l)
	k.absent("a")
	if e := w.next(); e.Key != "a" || !e.Deleted {
		k.Errorf("watch of a revoked lease's record saw %s", text(e))
	}
	if diff := cmp.Diff([]string{"b", "c"}, k.keys("")); diff != "" {
		k.Errorf("after revoke (-want +got):\n%s", diff)
	}
	k.revoke(other)
	k.absent("c")
	for _, ttl := range []time.Duration{0, -time.Second, time.Millisecond} {
		if _, err := k.Store.(store.Leaser).Grant(k.ctx, ttl); !isInvalid(err) {
			k.Errorf("grant of %v: got %v, want ErrInvalid", ttl, err)
		}
	}
}

func recordFollowsLastPut(k *checker) {
	l, other := k.grant(), k.grant()
	k.commit(nil, store.PutLeased("lasting", nil, l), store.PutLeased("moved", nil, l), store.PutLeased("again", nil, l),
		store.PutLeased("deleted", nil, l), store.Put("leased", nil))
	k.commit(nil, store.Put("lasting", nil), store.PutLeased("moved", nil, other), store.PutLeased("again", nil, l),
		store.Delete("deleted"), store.PutLeased("leased", nil, l))
	k.put("deleted", "lasting now")
	k.revoke(l)
	if diff := cmp.Diff([]string{"deleted", "lasting", "moved"}, k.keys("")); diff != "" {
		k.Errorf("after the first lease (-want +got):\n%s", diff)
	}
	k.revoke(other)
	if diff := cmp.Diff([]string{"deleted", "lasting"}, k.keys("")); diff != "" {
		k.Errorf("after both leases (-want +got):\n%s", diff)
	}
}

type foreignLease struct{}

func (foreignLease) Done() <-chan struct{}        { return nil }
func (foreignLease) Revoke(context.Context) error { return nil }

func endedLeaseIsRefused(k *checker) {
	l := k.grant()
	k.revoke(l)
	k.refuse(store.ErrNotFound, nil, store.Put("b", nil), store.PutLeased("a", nil, l))
	k.refuse(store.ErrInvalid, nil, store.Put("b", nil), store.PutLeased("a", nil, foreignLease{}))
	k.revoke(l) // the end of what has ended is no error
	live := k.grant()
	k.refuse(store.ErrInvalid, nil, store.Op{Key: "a", Delete: true, Lease: live})
}

func closeEndsLeases(k *checker) {
	l := k.grantFor(shortLease)
	k.commit(nil, store.PutLeased("a", nil, l), store.Put("b", nil))
	if err := k.Close(); err != nil {
		k.Fatalf("close: %v", err)
	}
	select {
	case <-l.Done():
	default:
		k.Error("close returned before the lease was done")
	}
	if err := l.Revoke(k.ctx); err != nil && !errors.Is(err, store.ErrClosed) {
		k.Errorf("revoke after close: %v", err)
	}
	k.Store = k.suite.reopen(k.T, k.Store)
	k.eventually("the leased record is gone", func() bool { return cmp.Equal([]string{"b"}, k.keys("")) })
}
