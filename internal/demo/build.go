package demo

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

const etcdMembers = 3

func (d *demo) build() {
	start := time.Now()
	d.rig = testutil.NewHosts(d.t, hosts, testutil.HostsOptions{EtcdMembers: etcdMembers})
	d.outside = [2]netip.Addr{d.rig.Outside4, d.rig.Outside6}
	var names []string
	for _, h := range d.rig.Hosts {
		d.underlay = append(d.underlay, [2]netip.Addr{h.Addr4, h.Addr6})
		names = append(names, fmt.Sprintf("%s %s", h.Name, h.VTEP))
	}
	_, err := startResponder(d.t, d.rig.Outside, outsideName)
	d.must(err)
	d.ok("%s; etcd on %d members; %s", strings.Join(names, ", "), etcdMembers, since(start))

	start = time.Now()
	for _, h := range d.rig.Hosts {
		h.Start(d.t)
	}
	d.must(d.onHosts(d.open))
	d.ok("a controller process on each host; %s", since(start))
	d.makeNetworks()
	d.makeBoxes()
}

// open opens the controller in a host's process.
func (d *demo) open(host int) error {
	h := d.rig.Hosts[host-1]
	return d.call(host, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: d.rig.Etcd.Endpoints()}, nil)
}

func (d *demo) makeNetworks() {
	for _, n := range d.networks {
		host := max(1, n.host)
		p := nodeagent.Network{Driver: n.driver, Name: n.name, Subnets: n.subnets[:], Internal: n.internal}
		d.must(d.call(host, "network.create", p, nil))
		var info nodeagent.NetworkInfo
		d.must(d.call(host, "network.info", n.name, &info))
		n.vni = info.VNI
		kind := n.driver
		if n.vni != 0 {
			kind += fmt.Sprintf(", VNI %d", n.vni)
		}
		if n.internal {
			kind += ", internal"
		}
		d.expect(slices.Equal(info.Subnets, n.subnets[:]) && (n.vni != 0) == isOverlay(n),
			"network %s: %s, %s and %s", n, kind, info.Subnets[0], info.Subnets[1])
	}
	blue, green := d.network("blue"), d.network("green")
	d.expect(blue.vni != green.vni, "blue and green have the same addresses and different VNIs")
}

// makeBoxes makes and joins all sandboxes at the same time, as an orchestrator does.
func (d *demo) makeBoxes() {
	start := time.Now()
	var mu sync.Mutex // guards infos
	infos := map[*box]libcnm.EndpointInfo{}
	d.must(d.forBoxes(func(b *box) error {
		if err := d.call(b.host, "endpoint.create", b.endpoint(), nil); err != nil {
			return err
		}
		info, err := d.join(b)
		mu.Lock()
		defer mu.Unlock()
		infos[b] = info
		return err
	}))
	joined := since(start)
	for _, b := range d.boxes {
		if wrong := b.mismatch(infos[b]); wrong != nil {
			d.expect(false, "%s: %v", b.name(), wrong)
		}
		d.must(d.enter(b))
	}
	d.ok("%d sandboxes joined, %d per network and host; %s", len(d.boxes), slots, joined)
}

func (b *box) endpoint() nodeagent.Endpoint {
	return nodeagent.Endpoint{Network: b.network.name, Name: b.name(), Addrs: b.addrs[:]}
}

func (b *box) joining() nodeagent.Join {
	return nodeagent.Join{Endpoint: b.endpoint(), Container: b.name()}
}

// join makes the box's sandbox on its host and joins its endpoint; any goroutine may use it.
func (d *demo) join(b *box) (info libcnm.EndpointInfo, err error) {
	if err := d.call(b.host, "sandbox.create", b.name(), nil); err != nil {
		return info, err
	}
	err = d.call(b.host, "join", b.joining(), &info)
	return info, err
}

// mismatch says in what an endpoint that has just joined is not the one that was asked for.
func (b *box) mismatch(info libcnm.EndpointInfo) error {
	var errs []error
	var addrs []netip.Addr
	for _, p := range info.Addresses {
		addrs = append(addrs, p.Addr())
	}
	if !slices.Equal(addrs, b.addrs[:]) {
		errs = append(errs, fmt.Errorf("has addresses %v, wanted %v", addrs, b.addrs))
	}
	if want := fmt.Sprintf("host%d", b.host); info.Node != want {
		errs = append(errs, fmt.Errorf("is on %q, wanted %s", info.Node, want))
	}
	return errors.Join(errs...)
}

// enter opens the box's namespace and makes it say its name.
func (d *demo) enter(b *box) error {
	var list []nodeagent.Sandbox
	if err := d.call(b.host, "sandbox.list", nil, &list); err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(s nodeagent.Sandbox) bool { return s.Container == b.name() })
	if i < 0 {
		return fmt.Errorf("host%d has no sandbox of %s", b.host, b.name())
	}
	ns := d.rig.Hosts[b.host-1].OpenNS(d.t, list[i].Key)
	ns.Name = b.name()
	r, err := startResponder(d.t, ns, b.who())
	if err != nil {
		return err
	}
	d.places[b], d.responders[b] = ns, r
	return nil
}
