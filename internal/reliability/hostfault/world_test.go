package hostfault

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers/ovsvxlan"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
	engine "github.com/libcnm/libcnm/ovsvxlan"
)

// settle is how long a world may take until it works for the first time.
const settle = 20 * time.Second

// world is a rig with controllers, and sandboxes in networks that must never reach each other.
type world struct {
	*testutil.Rig
	guards  []*guard
	streams []*testutil.Stream
}

func newWorld(t *testing.T, hosts int, opts testutil.HostsOptions) *world {
	t.Helper()
	w := &world{Rig: testutil.NewHosts(t, hosts, opts)}
	for _, h := range w.Hosts {
		h.Start(t)
		w.open(t, h)
	}
	return w
}

// open starts the controller of a host whose agent runs.
func (w *world) open(t *testing.T, h *testutil.Host) {
	t.Helper()
	o := nodeagent.Open{Node: h.Name, Underlay: h.VTEP}
	if w.Etcd != nil {
		o.Etcd = w.Etcd.Endpoints()
	}
	must(t, h.Call(t.Context(), "open", o, nil))
}

// network makes a dual-stack network of the given number.
func (w *world) network(t *testing.T, h *testutil.Host, driver, name string, number int) {
	t.Helper()
	must(t, h.Call(t.Context(), "network.create", nodeagent.Network{
		Driver: driver, Name: name, Subnets: []netip.Prefix{
			netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/24", number)), netip.MustParsePrefix(fmt.Sprintf("fd%02d::/64", number)),
		},
	}, nil))
}

// box is a sandbox with one endpoint.
type box struct {
	host    *testutil.Host
	network string
	name    string
	key     string // the namespace's path on the host
	ns      *testutil.NS
	addrs   []netip.Addr
	subnets []netip.Prefix
}

// box makes a sandbox with an endpoint of the network.
func (w *world) box(t *testing.T, h *testutil.Host, network, name string) *box {
	t.Helper()
	b := &box{host: h, network: network, name: name}
	must(t, h.Call(t.Context(), "endpoint.create", nodeagent.Endpoint{Network: network, Name: name}, nil))
	b.join(t)
	return b
}

// join makes the sandbox and joins the endpoint, which is there.
func (b *box) join(t *testing.T) {
	t.Helper()
	var sb nodeagent.Sandbox
	must(t, b.host.Call(t.Context(), "sandbox.create", b.name, &sb))
	var info libcnm.EndpointInfo
	must(t, b.host.Call(t.Context(), "join", nodeagent.Join{
		Endpoint: nodeagent.Endpoint{Network: b.network, Name: b.name}, Container: b.name,
	}, &info))
	b.key, b.ns = sb.Key, b.host.OpenNS(t, sb.Key)
	b.addrs, b.subnets = nil, nil
	for _, p := range info.Addresses {
		b.addrs, b.subnets = append(b.addrs, p.Addr()), append(b.subnets, p.Masked())
	}
}

// veth returns the host's end of the box's pair.
func (b *box) veth(t *testing.T) netlink.Link {
	t.Helper()
	inside, err := b.ns.Netlink().LinkByName("eth0")
	must(t, err)
	l, err := b.host.NS.Netlink().LinkByIndex(inside.Attrs().ParentIndex)
	must(t, err)
	return l
}

// bridge returns the bridge that the box's pair is a port of.
func (b *box) bridge(t *testing.T) netlink.Link {
	t.Helper()
	l, err := b.host.NS.Netlink().LinkByIndex(b.veth(t).Attrs().MasterIndex)
	must(t, err)
	return l
}

// inside are all addresses of all networks of a world: 10.x and fdxx: of the endpoints, and what stands for a network of
// the overlay where the host forwards.
var inside = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd01::/16"), netip.MustParsePrefix("fd02::/16"), netip.MustParsePrefix("fd03::/16"),
	ovsvxlan.DefaultTransit4, ovsvxlan.DefaultTransit6,
}

// strange reports an address of another network. The host's own, by which a gateway tells that it cannot deliver, is none.
func (b *box) strange(a netip.Addr) bool {
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	host := a == engine.HostAddr(ovsvxlan.DefaultTransit4) || a == engine.HostAddr(ovsvxlan.DefaultTransit6)
	return !host && slices.ContainsFunc(inside, within) && !slices.ContainsFunc(b.subnets, within)
}

// route is traffic between two places, in both families.
type route struct {
	name   string
	from   *testutil.NS
	to     []netip.Addr
	tunnel bool // it goes from host to host
}

func between(a, b *box) route {
	return route{a.name + " to " + b.name, a.ns, b.addrs, a.host != b.host}
}

// out is the way from a sandbox into the world.
func (w *world) out(b *box) route {
	return route{name: b.name + " to the world", from: b.ns, to: []netip.Addr{w.Outside4, w.Outside6}}
}

// works waits until all routes do.
func works(t *testing.T, routes ...route) {
	t.Helper()
	for _, r := range routes {
		testutil.Eventually(t, settle, func() error {
			var errs []error
			for _, to := range r.to {
				_, err := testutil.Ping(t.Context(), r.from, to)
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		})
	}
}

// logged returns what the controllers have logged since the given places in their logs, and where those end now.
func (w *world) logged(t *testing.T, since map[string]int) (string, map[string]int) {
	t.Helper()
	text, ends := "", make(map[string]int)
	for _, h := range w.Hosts {
		log, err := os.ReadFile(filepath.Join(h.Dir, "agent.log"))
		must(t, err)
		ends[h.Name] = len(log)
		text += string(log[since[h.Name]:])
	}
	return text, ends
}

// drift returns what the controllers' own checks find on all hosts.
func (w *world) drift(t *testing.T) error {
	t.Helper()
	var errs []error
	for _, h := range w.Hosts {
		var found []string
		if err := h.Call(t.Context(), "check", nil, &found); err != nil {
			errs = append(errs, err)
		}
		if len(found) > 0 {
			errs = append(errs, fmt.Errorf("host %s differs: %s", h.Name, strings.Join(found, "; ")))
		}
	}
	return errors.Join(errs...)
}
