package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/local"
)

// outcome is what a faulty store does with a commit.
type outcome int

const (
	right  outcome = iota
	lost           // ErrUnavailable, and nothing has happened
	silent         // ErrUnavailable, and it has happened
)

// faulty is a cluster's store of which commits and watches fail as planned.
type faulty struct {
	store.Store
	mu       sync.Mutex // guards what follows
	plan     func(ops []store.Op) outcome
	listed   func(prefix string) // called after each List
	deaf     bool                // watches say nothing
	watching context.Context
	compact  context.CancelFunc // ends the watches
}

// newFaulty makes a store, in a file, that any number of controllers of this process share as their cluster.
func newFaulty(t *testing.T) *faulty {
	t.Helper()
	s, err := local.Open(t.Context(), filepath.Join(t.TempDir(), "cluster.db"))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	f := &faulty{Store: s, plan: func([]store.Op) outcome { return right }, listed: func(string) {}}
	f.watching, f.compact = context.WithCancel(t.Context())
	return f
}

func (f *faulty) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	return f.Store.(store.Leaser).Grant(ctx, ttl)
}

// fail does to the next n commits what is said, if they change a key with the prefix.
func (f *faulty) fail(does outcome, prefix string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = func(ops []store.Op) outcome {
		if n > 0 && slices.ContainsFunc(ops, func(op store.Op) bool { return strings.HasPrefix(op.Key, prefix) }) {
			n--
			return does
		}
		return right
	}
}

func (f *faulty) Commit(ctx context.Context, guards []store.Guard, ops ...store.Op) (store.Rev, error) {
	f.mu.Lock()
	does := f.plan(ops)
	f.mu.Unlock()
	if does == lost {
		return 0, fmt.Errorf("lost on purpose: %w", store.ErrUnavailable)
	}
	rev, err := f.Store.Commit(ctx, guards, ops...)
	if err == nil && does == silent {
		return 0, fmt.Errorf("silent on purpose: %w", store.ErrUnavailable)
	}
	return rev, err
}

// afterList calls fn once, when a listing of a prefix that begins like this has been read.
func (f *faulty) afterList(prefix string, fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	once := sync.OnceFunc(fn)
	f.listed = func(listed string) {
		if strings.HasPrefix(listed, prefix) {
			once()
		}
	}
}

func (f *faulty) List(ctx context.Context, prefix string) ([]store.Record, store.Rev, error) {
	records, rev, err := f.Store.List(ctx, prefix)
	f.mu.Lock()
	listed := f.listed
	f.mu.Unlock()
	listed(prefix)
	return records, rev, err
}

// miss makes watches pass over what happens until resume, which ends them as a compaction does.
func (f *faulty) miss() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deaf = true
}

func (f *faulty) resume(t *testing.T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deaf = false
	f.compact()
	f.watching, f.compact = context.WithCancel(t.Context())
}

func (f *faulty) Watch(ctx context.Context, prefix string, after store.Rev) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		f.mu.Lock()
		watching := f.watching
		f.mu.Unlock()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(watching, cancel)()
		for ev, err := range f.Store.Watch(ctx, prefix, after) {
			f.mu.Lock()
			deaf := f.deaf
			f.mu.Unlock()
			switch {
			case watching.Err() != nil:
				yield(store.Event{}, store.ErrCompacted)
				return
			case deaf && err == nil:
			case !yield(ev, err):
				return
			}
		}
	}
}

// newFaultyNodes opens controllers node1, node2, ... on one faulty store.
func newFaultyNodes(t *testing.T, n int) ([]*libcnm.NetworkController, []*fixture, *faulty) {
	t.Helper()
	shared := newFaulty(t)
	var cs []*libcnm.NetworkController
	var fs []*fixture
	for i := range n {
		f := newFixture(t, fmt.Sprintf("node%d", i+1), libcnm.WithStore(shared))
		fs = append(fs, f)
		cs = append(cs, f.open(t))
	}
	return cs, fs, shared
}

// TestJoinWithUnknownOutcome: the store takes the commit of a Join, or not, and does not say; then perhaps the same again
// when that is found out. The next call puts everything right, whatever it is, and so does the controller by itself.
func TestJoinWithUnknownOutcome(t *testing.T) {
	type call func(ctx context.Context, ep *libcnm.Endpoint, sb, other *libcnm.Sandbox) error
	for name, then := range map[string]call{
		"join again": func(ctx context.Context, ep *libcnm.Endpoint, sb, _ *libcnm.Sandbox) error { return ep.Join(ctx, sb) },
		"join other": func(ctx context.Context, ep *libcnm.Endpoint, _, other *libcnm.Sandbox) error {
			return ep.Join(ctx, other)
		},
		"leave":   func(ctx context.Context, ep *libcnm.Endpoint, sb, _ *libcnm.Sandbox) error { return ep.Leave(ctx, sb) },
		"delete":  func(ctx context.Context, ep *libcnm.Endpoint, _, _ *libcnm.Sandbox) error { return ep.Delete(ctx) },
		"nothing": nil,
	} {
		for _, does := range []outcome{lost, silent} {
			for times := range 2 {
				t.Run(fmt.Sprint(name, ", ", does, " ", times+1), func(t *testing.T) {
					ctx := t.Context()
					cs, fs, shared := newFaultyNodes(t, 1)
					ep := newEndpoint(t, clusterNetwork(t, cs[0], "blue"), "a")
					sb, other := newSandbox(t, cs[0], "container1"), newSandbox(t, cs[0], "container2")
					shared.fail(does, "endpoints/", times+1)
					wantErr(t, ep.Join(ctx, sb), libcnm.ErrUnavailable, "a")
					if info := ep.Info(); info.Node != "" || len(sb.Endpoints()) != 0 {
						t.Errorf("after a failed join the endpoint says %+v, the sandbox has %d", info, len(sb.Endpoints()))
					}
					testutil.Eventually(t, settle, func() error {
						if then == nil {
							return recordedNowhere(ctx, shared)
						}
						if err := then(ctx, ep, sb, other); !errors.Is(err, libcnm.ErrUnavailable) {
							must(t, err)
							return nil
						}
						return errors.New("the store has not answered")
					})
					must(t, errors.Join(sb.Delete(ctx), other.Delete(ctx)))
					must(t, recordedNowhere(ctx, shared))
					if left := fs[0].host.Dump("fakenet"); left != "" {
						t.Errorf("left on the host:\n%s", left)
					}
				})
			}
		}
	}
}

// recordedNowhere reports endpoints that the store says are joined.
func recordedNowhere(ctx context.Context, st store.Store) error {
	members, _, err := st.List(ctx, "members/")
	if err != nil {
		return err
	}
	eps, _, err := st.List(ctx, "endpoints/")
	if err != nil {
		return err
	}
	for _, ep := range eps {
		if len(members) > 0 || strings.Contains(string(ep.Value), `"join"`) {
			return fmt.Errorf("%d members, endpoint %s", len(members), ep.Value)
		}
	}
	return nil
}

// TestLeaveWithUnknownOutcome: the same for a Leave. Until the outcome is known the endpoint stays where it is.
func TestLeaveWithUnknownOutcome(t *testing.T) {
	for _, then := range []string{"leave", "join", "delete sandbox", "delete", "nothing"} {
		for _, does := range []outcome{lost, silent} {
			t.Run(fmt.Sprint(then, ", ", does), func(t *testing.T) {
				ctx := t.Context()
				cs, fs, shared := newFaultyNodes(t, 2)
				ep := newEndpoint(t, clusterNetwork(t, cs[0], "blue"), "a")
				sb := newSandbox(t, cs[0], "container1")
				must(t, ep.Join(ctx, sb))
				peer := newEndpoint(t, mustNetwork(t, cs[1], "blue"), "b")
				must(t, peer.Join(ctx, newSandbox(t, cs[1], "container2")))
				shared.miss() // the controller must find out by itself
				shared.fail(does, "endpoints/", 1)
				wantErr(t, ep.Leave(ctx, sb), libcnm.ErrUnavailable, "a")
				stays := false
				switch then {
				case "leave":
					must(t, ep.Leave(ctx, sb))
				case "join":
					stays = true
					must(t, ep.Join(ctx, sb))
				case "delete sandbox":
					must(t, sb.Delete(ctx))
				case "delete":
					must(t, ep.Delete(ctx, libcnm.WithForce()))
				case "nothing":
					stays = does == lost
				}
				shared.resume(t)
				hostHas(t, fs[0], stays, "endpoint", ep.ID())
				hostHas(t, fs[0], stays, "peer", peer.ID())
				hostHas(t, fs[1], stays, "peer", ep.ID())
				if joined := len(sb.Endpoints()) == 1; joined != stays {
					t.Errorf("endpoint in its sandbox: %t, want %t", joined, stays)
				}
			})
		}
	}
}

// TestDeletedElsewhereUnseen: an endpoint is deleted by force on another node while the watch says nothing.
func TestDeletedElsewhereUnseen(t *testing.T) {
	ctx := t.Context()
	cs, fs, shared := newFaultyNodes(t, 2)
	ep := newEndpoint(t, clusterNetwork(t, cs[0], "blue"), "a")
	sb := newSandbox(t, cs[0], "container1")
	must(t, ep.Join(ctx, sb))
	shared.miss()
	remote, err := mustNetwork(t, cs[1], "blue").EndpointByName(ctx, "a")
	must(t, err)
	must(t, remote.Delete(ctx, libcnm.WithForce()))
	shared.resume(t)
	hostHas(t, fs[0], false, ep.ID())
	testutil.Eventually(t, settle, func() error {
		if left := sb.Endpoints(); len(left) > 0 {
			return fmt.Errorf("sandbox still has %d endpoints", len(left))
		}
		return nil
	})
}

// TestDeletedElsewhereMeanwhile: an endpoint is deleted by force on another node while this one reads about it, at the
// start or for a join.
func TestDeletedElsewhereMeanwhile(t *testing.T) {
	for _, tc := range []struct {
		read  string // what this node has just read
		start bool   // for its start
	}{{"members/node1/", true}, {"endpoints/", true}, {"nodes/", true}, {"endpoints/", false}} {
		t.Run(fmt.Sprintf("%s, start %t", tc.read, tc.start), func(t *testing.T) {
			ctx := t.Context()
			cs, fs, shared := newFaultyNodes(t, 2)
			ep := newEndpoint(t, clusterNetwork(t, cs[0], "blue"), "a")
			sb := newSandbox(t, cs[0], "container1")
			remote, err := mustNetwork(t, cs[1], "blue").EndpointByName(ctx, "a")
			must(t, err)
			remove := func() { must(t, remote.Delete(ctx, libcnm.WithForce())) }
			if tc.start {
				must(t, ep.Join(ctx, sb))
				must(t, cs[0].Close())
				shared.afterList(tc.read, remove)
				sb = lookup(t, fs[0].open(t), "container1")
			} else {
				shared.afterList(tc.read, remove)
				must(t, ep.Join(ctx, sb))
			}
			hostHas(t, fs[0], false, ep.ID())
			testutil.Eventually(t, settle, func() error {
				if left := sb.Endpoints(); len(left) > 0 {
					return fmt.Errorf("sandbox still has %d endpoints", len(left))
				}
				return nil
			})
			must(t, sb.Delete(ctx))
		})
	}
}

// TestPeersCannotBeTold: the driver refuses its peers, so that a join cannot succeed. It must not hang.
func TestPeersCannotBeTold(t *testing.T) {
	broken := fmt.Errorf("broken on purpose: %w", drivers.ErrUnavailable)
	shared := newFaulty(t)
	f := newFixture(t, "node1", libcnm.WithStore(shared))
	c := f.open(t, libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{
		Host: f.host, Info: drivers.Info{Name: "frail", Scope: drivers.ScopeCluster, Addressing: true, Overlap: true},
		Fault: func(step string) error {
			if strings.HasPrefix(step, "change peers") {
				return broken
			}
			return nil
		},
	})}))
	n, err := c.NewNetwork(t.Context(), "frail", "blue")
	must(t, err)
	ep := newEndpoint(t, n, "a")
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	wantErr(t, ep.Join(ctx, newSandbox(t, c, "container1")), broken)
	if left := f.host.Dump("frail"); left != "" {
		t.Errorf("left on the host:\n%s", left)
	}
}

// TestCrashBeforeFirstUse: a crash between the commit of a network and the note that its driver has been used.
func TestCrashBeforeFirstUse(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := newNetwork(t, c, "web")
	newEndpoint(t, n, "a")
	must(t, c.Close())
	db, err := local.Open(ctx, filepath.Join(f.dir, "data", "libcnm.db"))
	must(t, err)
	_, err = db.Commit(ctx, nil, store.Delete("drivers/fake"))
	must(t, errors.Join(err, db.Close()))
	f.host.Lose("never told")
	c = f.open(t)
	ep, err := mustNetwork(t, c, "web").EndpointByName(ctx, "a")
	must(t, err)
	must(t, ep.Join(ctx, newSandbox(t, c, "container1")))
	drift, err := c.Check(ctx)
	must(t, err)
	if len(drift) > 0 {
		t.Errorf("differences: %v", drift)
	}
}
