package storefault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// settle is how long hosts may take to be as the stores say, once the stores work again.
	settle = 30 * time.Second
	// deadline is what calls get that may need what fails, and slack how much later they may end on a machine that is busy.
	deadline = time.Second
	slack    = 3 * time.Second
	undo     = 10 * time.Second // a call that fails half-way takes back what it did, for at most so long

	ovsdb = "unix:/run/openvswitch/db.sock"
	blue  = "blue" // the overlay network
)

// world is a rig with controllers and sandboxes: on each host two in the overlay network blue and two in a bridge network
// of the host's own.
type world struct {
	*testutil.Rig
	ttl    time.Duration // of the nodes
	boxes  map[string]*box
	serial int
	lates  []*box                   // made while etcd failed
	left   []func(*testing.T) error // to be deleted when the store works again
	sum    report.Figures

	operations atomic.Int64
}

// box is a sandbox with one endpoint. Both have its name.
type box struct {
	host    *testutil.Host
	network string
	name    string
	ns      *testutil.NS
	addrs   []netip.Addr
}

// newWorld builds it. Each host is prepared before its controller starts.
func newWorld(t *testing.T, hosts int, ttl time.Duration, opts testutil.HostsOptions, prepare ...func(i int, h *testutil.Host)) *world {
	t.Helper()
	w := &world{Rig: testutil.NewHosts(t, hosts, opts), ttl: ttl, boxes: make(map[string]*box)}
	for i, h := range w.Hosts {
		for _, p := range prepare {
			p(i, h)
		}
		h.Start(t)
		must(t, w.open(t, h, false))
		if i == 0 {
			w.network(t, h, "ovs-vxlan", blue, 1)
		}
		w.network(t, h, "bridge", home(h), 10+i)
		for _, n := range []string{"a", "b"} {
			w.box(t, h, blue, n+h.Name)
			w.box(t, h, home(h), n+home(h))
		}
		for _, n := range []string{"spare", "local"} {
			must(t, h.Call(t.Context(), "sandbox.create", n+h.Name, nil))
		}
		must(t, h.Call(t.Context(), "endpoint.create", spare(h).Endpoint, nil))
	}
	t.Cleanup(func() {
		w.sum.Operations = int(w.operations.Load())
		report.Add(t, w.sum)
	})
	w.works(t)
	return w
}

// home is the name of the host's bridge network.
func home(h *testutil.Host) string { return "home" + h.Name }

// spare is an endpoint of blue that joins and leaves while the store fails.
func spare(h *testutil.Host) nodeagent.Join {
	return nodeagent.Join{Endpoint: nodeagent.Endpoint{Network: blue, Name: "spare" + h.Name}, Container: "spare" + h.Name}
}

// open opens the controller of a host whose agent runs.
func (w *world) open(t *testing.T, h *testutil.Host, rebuild bool) error {
	t.Helper()
	return h.Call(t.Context(), "open", nodeagent.Open{
		Node: h.Name, Underlay: h.VTEP, Etcd: w.Etcd.Endpoints(), TTL: w.ttl, Rebuild: rebuild,
	}, nil)
}

// network makes a dual-stack network.
func (w *world) network(t *testing.T, h *testutil.Host, driver, name string, number int) {
	t.Helper()
	must(t, h.Call(t.Context(), "network.create", nodeagent.Network{Driver: driver, Name: name, Subnets: []netip.Prefix{
		netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd%02d::/64", number)),
	}}, nil))
}

// box makes a sandbox with a new endpoint of the network.
func (w *world) box(t *testing.T, h *testutil.Host, network, name string) *box {
	t.Helper()
	b := &box{host: h, network: network, name: name}
	ep := nodeagent.Endpoint{Network: network, Name: name}
	must(t, h.Call(t.Context(), "endpoint.create", ep, nil))
	var sb nodeagent.Sandbox
	must(t, h.Call(t.Context(), "sandbox.create", name, &sb))
	var info libcnm.EndpointInfo
	must(t, h.Call(t.Context(), "join", nodeagent.Join{Endpoint: ep, Container: name}, &info))
	b.ns = h.OpenNS(t, sb.Key)
	for _, p := range info.Addresses {
		b.addrs = append(b.addrs, p.Addr())
	}
	w.boxes[name] = b
	return b
}

// remove deletes what box made.
func (w *world) remove(t *testing.T, b *box) {
	t.Helper()
	must(t, b.host.Call(t.Context(), "sandbox.delete", b.name, nil))
	must(t, b.host.Call(t.Context(), "endpoint.delete", nodeagent.Endpoint{Network: b.network, Name: b.name}, nil))
	delete(w.boxes, b.name)
}

// next returns the box a or b in blue of the host after the i-th.
func (w *world) next(i int, n string) *box { return w.on(w.Hosts[(i+1)%len(w.Hosts)], n) }

// on returns the host's box a or b in blue.
func (w *world) on(h *testutil.Host, n string) *box { return w.boxes[n+h.Name] }

func nodeEndpoint(network, name string) nodeagent.Endpoint {
	return nodeagent.Endpoint{Network: network, Name: name}
}

// reach pings all addresses of a box once.
func (b *box) reach(t *testing.T, to *box) error {
	var errs []error
	for _, addr := range to.addrs {
		_, err := testutil.Ping(t.Context(), b.ns, addr)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// works waits until everybody reaches everybody in blue, and in each home.
func (w *world) works(t *testing.T) {
	t.Helper()
	for _, from := range w.boxes {
		for _, to := range w.boxes {
			if from != to && from.network == to.network {
				testutil.Eventually(t, settle, func() error { return from.reach(t, to) })
			}
		}
	}
}

// sound waits until no host differs from what the stores say, by its controller's own look and by the auditor's.
func (w *world) sound(t *testing.T) {
	t.Helper()
	for _, h := range w.Hosts {
		testutil.Eventually(t, settle, func() error {
			var drift []string
			if err := h.Call(t.Context(), "check", nil, &drift); err != nil {
				return err
			}
			var found []audit.Finding
			err := h.Call(t.Context(), "audit", audit.Request{Node: h.Name, Etcd: w.Etcd.Endpoints(), OVSDB: ovsdb}, &found)
			if err != nil {
				return err
			}
			for _, f := range found {
				drift = append(drift, f.String())
			}
			if len(drift) > 0 {
				return fmt.Errorf("%s:\n%s", h.Name, strings.Join(drift, "\n"))
			}
			return nil
		})
	}
}

// try makes a call on the host with a deadline and fails the test if it ends late or with another error than
// ErrUnavailable. It reports whether the call succeeded.
func (w *world) try(t *testing.T, h *testutil.Host, method string, params any) bool {
	t.Helper()
	o := w.call(t, h, method, params, deadline)
	// What a join does on the host after the store has answered may take a busy machine longer than the deadline.
	late := o.Late && method == "join"
	if o.Error != "" && !o.Unavailable && !late {
		t.Errorf("%s on %s: %s: not ErrUnavailable", method, h.Name, o.Error)
	}
	limit := deadline + slack
	if late {
		limit += undo
	}
	if o.Took > limit {
		t.Errorf("%s on %s took %v, its context %v: %s", method, h.Name, o.Took, deadline, o.Error)
	}
	return o.Error == ""
}

// do makes a call on the host that needs nothing of what fails, and must succeed.
func (w *world) do(t *testing.T, h *testutil.Host, method string, params any) {
	t.Helper()
	if o := w.call(t, h, method, params, settle); o.Error != "" {
		t.Errorf("%s on %s must succeed: %s", method, h.Name, o.Error)
	}
}

func (w *world) call(t *testing.T, h *testutil.Host, method string, params any, timeout time.Duration) (o outcome) {
	t.Helper()
	raw, err := json.Marshal(params)
	if err == nil {
		err = h.Call(t.Context(), "attempt", attempt{Method: method, Params: raw, Timeout: timeout}, &o)
	}
	if err != nil {
		o.Error = err.Error()
	}
	w.operations.Add(1)
	return o
}

// tryAll makes every kind of call on the hosts: those that need the cluster's store, and at the same time those that do
// not, which must succeed. It returns how many of the first did.
func (w *world) tryAll(t *testing.T, hosts ...*testutil.Host) int {
	t.Helper()
	w.serial++
	name := fmt.Sprint("try", w.serial)
	var running sync.WaitGroup
	var succeeded atomic.Int32
	for _, h := range hosts {
		name, ep := name+h.Name, nodeEndpoint(blue, name+h.Name)
		call := func(method string, params any) {
			if w.try(t, h, method, params) {
				succeeded.Add(1)
			}
		}
		running.Go(func() { call("endpoint.create", ep) })
		running.Go(func() { call("network.create", nodeagent.Network{Driver: "ovs-vxlan", Name: name}) })
		running.Go(func() { call("endpoint.info", nodeEndpoint(blue, "a"+h.Name)) })
		running.Go(func() { call("join", spare(h)); call("leave", spare(h)) })
		running.Go(func() { call("leave", spare(h)) }) // behind the join
		running.Go(func() { w.local(t, h, name) })
		w.left = append(w.left,
			func(t *testing.T) error { return h.Call(t.Context(), "endpoint.delete", ep, nil) },
			func(t *testing.T) error { return h.Call(t.Context(), "network.delete", name, nil) })
	}
	running.Wait()
	return int(succeeded.Load())
}

// tidy deletes what tryAll made, or the store may have made, once the store works again.
func (w *world) tidy(t *testing.T) {
	t.Helper()
	for _, left := range w.left {
		testutil.Eventually(t, settle, func() error {
			if err := left(t); !errors.Is(err, libcnm.ErrNotFound) {
				return err
			}
			return nil
		})
	}
	w.left = nil
}

// local does what needs no cluster.
func (w *world) local(t *testing.T, h *testutil.Host, name string) {
	t.Helper()
	ep := nodeagent.Endpoint{Network: home(h), Name: name}
	join := nodeagent.Join{Endpoint: ep, Container: "local" + h.Name}
	for _, c := range []struct {
		method string
		params any
	}{
		{"sandbox.create", name}, {"endpoint.create", ep}, {"join", join}, {"endpoint.info", ep}, {"sandbox.list", nil},
		{"leave", join}, {"endpoint.delete", ep}, {"sandbox.delete", name},
	} {
		w.do(t, h, c.method, c.params)
	}
	var list []nodeagent.Sandbox
	must(t, h.Call(t.Context(), "sandbox.list", nil, &list))
	for _, sb := range list {
		if b := w.boxes[sb.Container]; b != nil && len(sb.Endpoints) != 1 {
			t.Errorf("%s says that container %s has %d endpoints", h.Name, sb.Container, len(sb.Endpoints))
		}
	}
}
