package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
)

// shortTTL is the shortest lease that stores grant; peers wait a third of it before they give a node up.
const shortTTL = time.Second

// leases is a faulty store whose leases end when a test says so.
type leases struct {
	*faulty
	away  atomic.Bool  // records of nodes cannot be looked up
	looks atomic.Int32 // of node1 at records of others, since away was set
	cut   sync.Map     // keys of nodes that cannot register

	leasing sync.Mutex // guards granted
	granted []store.Lease
}

func (l *leases) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	lease, err := l.faulty.Grant(ctx, ttl)
	if err == nil {
		l.leasing.Lock()
		l.granted = append(l.granted, lease)
		l.leasing.Unlock()
	}
	return lease, err
}

// living is how many leases have not ended.
func (l *leases) living() (n int) {
	l.leasing.Lock()
	defer l.leasing.Unlock()
	for _, lease := range l.granted {
		select {
		case <-lease.Done():
		default:
			n++
		}
	}
	return n
}

func (l *leases) Get(ctx context.Context, key string) (store.Record, error) {
	if strings.HasPrefix(key, "nodes/") && l.away.Load() {
		return store.Record{}, fmt.Errorf("away on purpose: %w", store.ErrUnavailable)
	}
	return l.faulty.Get(ctx, key)
}

// leasesOf is what a node has of them.
type leasesOf struct {
	*leases
	node string
}

func (l leasesOf) Get(ctx context.Context, key string) (store.Record, error) {
	if l.node == "node1" && key != "nodes/node1" && strings.HasPrefix(key, "nodes/") && l.away.Load() {
		l.looks.Add(1)
	}
	return l.leases.Get(ctx, key)
}

func (l *leases) Commit(ctx context.Context, guards []store.Guard, ops ...store.Op) (store.Rev, error) {
	for _, op := range ops {
		if _, cut := l.cut.Load(op.Key); cut {
			return 0, fmt.Errorf("cut off on purpose: %w", store.ErrUnavailable)
		}
	}
	return l.faulty.Commit(ctx, guards, ops...)
}

// remove takes a node's record away.
func (l *leases) remove(t *testing.T, node string) store.Record {
	t.Helper()
	raw, err := l.faulty.Get(t.Context(), "nodes/"+node)
	must(t, err)
	must(t, second(l.Store.Commit(t.Context(), nil, store.Delete(raw.Key))))
	return raw
}

// end takes a node's record away as if the node were cut off, and returns what puts it back.
func (l *leases) end(t *testing.T, node string) (comeBack func()) {
	t.Helper()
	l.cut.Store("nodes/"+node, true)
	raw := l.remove(t, node)
	return func() {
		t.Helper()
		must(t, second(l.Store.Commit(t.Context(), nil, store.Put(raw.Key, raw.Value)))) // also from within a commit
		l.cut.Delete(raw.Key)
	}
}

// newLeasedNodes opens controllers node1, node2, ... each with one endpoint ep1, ep2, ... in the network blue.
func newLeasedNodes(t *testing.T, n int) ([]*libcnm.NetworkController, []*fixture, *leases, []*libcnm.Endpoint) {
	t.Helper()
	shared := &leases{faulty: newFaulty(t)}
	var cs []*libcnm.NetworkController
	var fs []*fixture
	var eps []*libcnm.Endpoint
	for i := range n {
		node := fmt.Sprint("node", i+1)
		f := newFixture(t, node, libcnm.WithStore(leasesOf{shared, node}), libcnm.WithNodeTTL(shortTTL))
		c := f.open(t)
		if i == 0 {
			clusterNetwork(t, c, "blue", libcnm.WithSubnet(prefix("10.1.0.0/24")), libcnm.WithSubnet(prefix("fd01::/64")))
		}
		ep := newEndpoint(t, mustNetwork(t, c, "blue"), fmt.Sprint("ep", i+1))
		must(t, ep.Join(t.Context(), newSandbox(t, c, "container")))
		cs, fs, eps = append(cs, c), append(fs, f), append(eps, ep)
	}
	for _, f := range fs {
		for _, ep := range eps {
			hostHas(t, f, true, ep.ID())
		}
	}
	return cs, fs, shared, eps
}

// seen is what a node knows of another's endpoint.
func seen(t *testing.T, c *libcnm.NetworkController, name string) libcnm.EndpointInfo {
	t.Helper()
	ep, err := mustNetwork(t, c, "blue").EndpointByName(t.Context(), name)
	must(t, err)
	return ep.Info()
}

func nodeInfo(t *testing.T, c *libcnm.NetworkController, name string) libcnm.NodeInfo {
	t.Helper()
	nodes, err := c.Nodes(t.Context())
	must(t, err)
	for _, n := range nodes {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no node %s in %+v", name, nodes)
	return libcnm.NodeInfo{}
}

// TestNodeDiesAndReturns: peers give a node up when its lease has ended, and take it again when it returns; others stay.
func TestNodeDiesAndReturns(t *testing.T) {
	ctx := t.Context()
	cs, fs, shared, eps := newLeasedNodes(t, 3)
	for i := range cs {
		n := nodeInfo(t, cs[0], fmt.Sprint("node", i+1))
		if !n.Alive || n.Endpoints != 1 || n.Self != (i == 0) || !n.Underlay.IsValid() || n.MTU == 0 || n.Version == "" || n.Boot == "" {
			t.Errorf("node %d: %+v", i+1, n)
		}
	}
	if info := seen(t, cs[0], "ep2"); info.NodeLost {
		t.Errorf("endpoint of a live node: %+v", info)
	}
	wantErr(t, cs[0].Release(ctx, "node2"), libcnm.ErrInUse, "node2")

	comeBack := shared.end(t, "node2")
	if n := nodeInfo(t, cs[0], "node2"); n.Alive || n.Endpoints != 1 {
		t.Errorf("node after its lease ended: %+v", n)
	}
	testutil.Eventually(t, settle, func() error {
		if !seen(t, cs[0], "ep2").NodeLost {
			return errors.New("the endpoint is not shown as one of a dead node")
		}
		return nil
	})
	hostHas(t, fs[0], false, "peer", eps[1].ID())
	hostHas(t, fs[0], false, "member node2")
	hostHas(t, fs[0], true, "peer", eps[2].ID())
	hostHas(t, fs[1], true, "peer", eps[0].ID()) // its own data plane is not touched

	comeBack()
	hostHas(t, fs[0], true, "peer", eps[1].ID())
	if info := seen(t, cs[0], "ep2"); info.NodeLost || info.Node != "node2" {
		t.Errorf("endpoint of a node that is back: %+v", info)
	}
}

// TestNodeRegistersAgain: a node whose record is deleted while its lease lives writes it again, under another lease. So it does
// when it missed the deletion, when it cannot at first, and when somebody put the record there without a lease.
func TestNodeRegistersAgain(t *testing.T) {
	cs, fs, shared, eps := newLeasedNodes(t, 2)
	registered := func() {
		t.Helper()
		testutil.Eventually(t, settle, func() error {
			if n, leases := nodeInfo(t, cs[0], "node2"), shared.living(); !n.Alive || leases != len(cs) {
				return fmt.Errorf("%d leases for %d nodes, node2 is %+v", leases, len(cs), n)
			}
			return nil
		})
		hostHas(t, fs[0], true, "peer", eps[1].ID())
	}
	for range 3 {
		shared.remove(t, "node2")
		registered()
	}
	shared.miss()
	shared.remove(t, "node2")
	shared.resume(t)
	registered()
	shared.fail(lost, "nodes/node2", 1)
	shared.remove(t, "node2")
	registered()
	shared.away.Store(true)
	raw := shared.remove(t, "node2")
	rev, err := shared.Store.Commit(t.Context(), nil, store.Put(raw.Key, raw.Value))
	must(t, err)
	shared.away.Store(false)
	testutil.Eventually(t, settle, func() error {
		now, err := shared.Get(t.Context(), raw.Key)
		if err == nil && now.Rev == rev {
			err = errors.New("the record is that which has no lease")
		}
		return err
	})
	registered()
}

// TestNodeIsGivenTime: a node that is back within the grace loses nothing, and while the store is away nobody can be back.
func TestNodeIsGivenTime(t *testing.T) {
	cs, fs, shared, eps := newLeasedNodes(t, 2)
	shared.away.Store(true)
	comeBack := shared.end(t, "node2")
	testutil.Eventually(t, settle, func() error { // far more often than the three that it would take
		if n := shared.looks.Load(); n < 9 {
			return fmt.Errorf("only %d looks", n)
		}
		return nil
	})
	if dump := fs[0].host.Dump("fakenet"); !strings.Contains(dump, "peer "+eps[1].ID()) {
		t.Errorf("a peer was dropped while the store was away:\n%s", dump)
	}
	comeBack()
	shared.away.Store(false)
	testutil.Eventually(t, settle, func() error {
		if seen(t, cs[0], "ep2").NodeLost {
			return errors.New("still lost")
		}
		return nil
	})
	hostHas(t, fs[0], true, "peer", eps[1].ID())

	shared.end(t, "node2")
	hostHas(t, fs[0], false, "peer", eps[1].ID()) // now it had its time
}

// TestRelease frees what a dead node had, once and for all.
func TestRelease(t *testing.T) {
	ctx := t.Context()
	cs, fs, shared, eps := newLeasedNodes(t, 3)
	idle := newEndpoint(t, mustNetwork(t, cs[1], "blue"), "idle")
	for name, class := range map[string]error{"node1": libcnm.ErrInvalid, "node9": libcnm.ErrNotFound, "no/name": libcnm.ErrInvalid, "node2": libcnm.ErrInUse} {
		wantErr(t, cs[0].Release(ctx, name), class, name)
	}
	freed := eps[1].Info()
	comeBack := shared.end(t, "node2")
	must(t, cs[0].Release(ctx, "node2"))
	wantErr(t, cs[0].Release(ctx, "node2"), libcnm.ErrNotFound, "node2")
	wantErr(t, second(mustNetwork(t, cs[0], "blue").EndpointByName(ctx, "ep2")), libcnm.ErrNotFound)
	must(t, second(mustNetwork(t, cs[0], "blue").EndpointByID(ctx, idle.ID()))) // it was joined nowhere
	hostHas(t, fs[0], false, eps[1].ID())

	// The name and the addresses are another's now, on another node, while the old owner still runs somewhere.
	again := newEndpoint(t, mustNetwork(t, cs[2], "blue"), "ep2",
		libcnm.WithIP(freed.Addresses[0].Addr(), freed.Addresses[1].Addr()), libcnm.WithMAC(freed.MAC))
	must(t, again.Join(ctx, newSandbox(t, cs[2], "container2")))
	hostHas(t, fs[0], true, "peer", again.ID())
	hostHas(t, fs[0], true, "forward "+freed.Addresses[0].Addr().String(), again.ID())

	// The node is back: what was released leaves its sandbox, which stays. It has noticed already, its watch never ended.
	comeBack()
	hostHas(t, fs[1], false, eps[1].ID())
	testutil.Eventually(t, settle, func() error {
		if left := lookup(t, cs[1], "container").Endpoints(); len(left) > 0 {
			return fmt.Errorf("sandbox still has %d endpoints", len(left))
		}
		return nil
	})
	if got := cs[1].Stats().Evictions; got != 1 {
		t.Errorf("%d evictions counted, want 1", got)
	}
	must(t, idle.Join(ctx, lookup(t, cs[1], "container")))
	hostHas(t, fs[0], true, "peer", idle.ID())
}

// TestReleasedNodeRestarts: a node comes back as a new process, after its endpoints were released and one was given away.
func TestReleasedNodeRestarts(t *testing.T) {
	ctx := t.Context()
	cs, fs, shared, eps := newLeasedNodes(t, 2)
	must(t, cs[1].Close())
	shared.remove(t, "node2")
	must(t, cs[0].Release(ctx, "node2"))
	if dump := fs[1].host.Dump("fakenet"); !strings.Contains(dump, eps[1].ID()) {
		t.Fatalf("nobody could have taken the endpoint off this host:\n%s", dump)
	}
	log, logs := testutil.NewLogs(t)
	c := fs[1].open(t, libcnm.WithLogger(log))
	if dump := fs[1].host.Dump("fakenet"); dump != "" {
		t.Errorf("after New the host still has\n%s", dump)
	}
	must(t, logs.Contains(`msg="difference is repaired"`, "object=\"endpoint "+eps[1].ID(), "cause=start"))
	sb := lookup(t, c, "container")
	if n := len(sb.Endpoints()); n != 0 {
		t.Errorf("the sandbox has %d endpoints", n)
	}
	ep := newEndpoint(t, mustNetwork(t, c, "blue"), "ep2")
	must(t, ep.Join(ctx, sb))
	hostHas(t, fs[0], true, "peer", ep.ID())
	must(t, sb.Delete(ctx))
}

// fill makes a node with many endpoints.
func fill(t *testing.T, c *libcnm.NetworkController, count int) {
	t.Helper()
	n := mustNetwork(t, c, "blue")
	sb := newSandbox(t, c, "crowd")
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			ep, err := n.CreateEndpoint(t.Context(), fmt.Sprint("crowd", i))
			if err == nil {
				err = ep.Join(t.Context(), sb)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// released fails if the store still has anything of a node, or only a part of an endpoint.
func released(t *testing.T, st store.Store, node string, endpoints int) {
	t.Helper()
	for prefix, want := range map[string]int{
		"members/" + node + "/": 0, "endpoints/": endpoints, "endpoint-names/": endpoints, "macs/": endpoints,
	} {
		raws, _, err := st.List(t.Context(), prefix)
		must(t, err)
		if len(raws) != want {
			t.Errorf("%d records in %s, want %d", len(raws), prefix, want)
		}
	}
	claims, _, err := st.List(t.Context(), "claims/")
	must(t, err)
	owned := 0
	for _, raw := range claims {
		if strings.Contains(string(raw.Value), "endpoint") {
			owned++
		}
	}
	if owned != 2*endpoints {
		t.Errorf("%d addresses are owned, want %d", owned, 2*endpoints)
	}
}

// TestReleaseIsCutShort: the store fails, or the node returns, in the middle of many batches. Each endpoint is whole or gone.
func TestReleaseIsCutShort(t *testing.T) {
	const crowd = 80 // four commits
	ctx := t.Context()
	cs, fs, shared, _ := newLeasedNodes(t, 2)
	fill(t, cs[1], crowd)
	comeBack := shared.end(t, "node2")
	commits := 0
	during := func(next func() outcome) {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		commits = 0
		shared.plan = func(ops []store.Op) outcome {
			if commits++; commits == 2 {
				return next()
			}
			return right
		}
	}
	left := func() int {
		raws, _, err := shared.List(ctx, "members/node2/")
		must(t, err)
		return len(raws)
	}
	during(func() outcome { return silent })
	wantErr(t, cs[0].Release(ctx, "node2"), libcnm.ErrUnavailable, "node2")
	first := left()
	if first == 0 || first >= crowd {
		t.Fatalf("%d endpoints left of %d", first, crowd)
	}
	raws, _, err := shared.List(ctx, "endpoints/")
	must(t, err)
	if len(raws) != 1+first {
		t.Errorf("%d endpoints in the store, want %d", len(raws), 1+first)
	}

	// It returns between two of the commits that free the rest: whatever it still has stays its own.
	during(func() outcome {
		comeBack()
		return right
	})
	wantErr(t, cs[0].Release(ctx, "node2"), libcnm.ErrInUse, "node2")
	rest := left()
	if rest == 0 || rest >= first {
		t.Fatalf("%d endpoints left of %d", rest, first)
	}
	testutil.Eventually(t, settle, func() error {
		var joined int
		for _, sb := range cs[1].Sandboxes() {
			joined += len(sb.Endpoints())
		}
		if joined != rest {
			return fmt.Errorf("%d endpoints joined, want %d", joined, rest)
		}
		return nil
	})
	drift, err := cs[1].Check(ctx)
	must(t, err)
	if len(drift) > 0 {
		t.Errorf("the node that returned differs: %v", drift)
	}
	shared.end(t, "node2")
	must(t, cs[0].Release(ctx, "node2"))
	released(t, shared, "node2", 1)
	testutil.Eventually(t, settle, func() error {
		if dump := fs[1].host.Dump("fakenet"); dump != "" {
			return fmt.Errorf("node2 still has\n%s", dump)
		}
		return nil
	})
}

// TestReleaseByAll: every controller releases the node at once, while others take the addresses that come free.
func TestReleaseByAll(t *testing.T) {
	const crowd = 60
	ctx := t.Context()
	cs, _, shared, _ := newLeasedNodes(t, 5)
	fill(t, cs[4], crowd)
	shared.end(t, "node5")
	var wg sync.WaitGroup
	var done atomic.Int32
	for i, c := range cs[:4] {
		n := mustNetwork(t, c, "blue")
		wg.Go(func() {
			err := c.Release(ctx, "node5")
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, libcnm.ErrNotFound) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for k := range 20 {
				if _, err := n.CreateEndpoint(ctx, fmt.Sprint("new", i, "-", k)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if done.Load() == 0 {
		t.Error("nobody released the node")
	}
	released(t, shared, "node5", 4+4*20)
	for _, name := range []string{"ep1", "ep4"} {
		if info := seen(t, cs[0], name); info.Node == "" || info.NodeLost {
			t.Errorf("%s: %+v", name, info)
		}
	}
}
