package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
)

// The drivers that have something on the host.
const (
	bridgeDriver  = "bridge"
	overlayDriver = "ovs-vxlan"
)

// plan is what should be on the host.
type plan struct {
	links      []wantLink
	interfaces map[string][]wantInterface // inside sandboxes, by their IDs
	routes     []route                    // of ours on the host
	overlay    *overlay                   // nil: nothing in Open vSwitch
}

// wantLink is a link of ours in the host's namespace.
type wantLink struct {
	name, kind, alias string
	driver            string
	mac               drivers.MAC // zero: any
	mtu               int
	up                bool
	master            string
	addrs             []netip.Prefix
	sysctls           map[string]string
}

// wantInterface is an interface inside a sandbox.
type wantInterface struct {
	name     string
	mac      drivers.MAC
	mtu      int
	addrs    []netip.Prefix
	sysctls  map[string]string
	hostLink string // the other end
}

func (a *audit) plan(_ context.Context) (*plan, error) {
	p := &plan{interfaces: map[string][]wantInterface{}}
	for _, n := range a.active(bridgeDriver) {
		mtu := n.MTU
		if mtu == 0 {
			mtu = a.links.defaultMTU()
		}
		p.links = append(p.links, bridgeOf(n, mtu))
		a.planEndpoints(p, n, bridgeName(n), mtu)
	}
	networks := a.active(overlayDriver)
	if len(networks) == 0 {
		return p, nil
	}
	o, err := a.planOverlay(networks)
	if err != nil || o == nil {
		return p, err
	}
	p.overlay = o
	p.links = append(p.links, o.links()...)
	master := ""
	if o.netdev {
		master = sinkName
	}
	for _, n := range networks {
		a.planEndpoints(p, n, master, o.mtu(n))
	}
	p.routes = o.routes(networks)
	return p, nil
}

// planEndpoints adds the veth pairs of a network's endpoints that are joined here.
func (a *audit) planEndpoints(p *plan, n *network, master string, mtu int) {
	for _, ep := range a.endpointsOf(n) {
		if !a.here(ep) || a.sandboxes[ep.Join.Sandbox] == nil {
			continue // what is wrong with it is found among the records
		}
		host := wantLink{
			name: hashName("cnmv", 11, n.ID, ep.ID), kind: "veth", driver: n.Driver,
			alias: "libcnm:" + n.Driver + ":endpoint:" + n.ID + "/" + ep.ID, mtu: mtu, up: true, master: master,
		}
		host.sysctls = map[string]string{conf6(host.name, "disable_ipv6"): "1"}
		p.links = append(p.links, host)
		inside := wantInterface{
			name: ep.Join.Interface, mac: ep.MAC, mtu: mtu, addrs: ep.Addrs, sysctls: ipv6Of(ep.Join.Interface, ep.Addrs),
			hostLink: host.name,
		}
		for key, value := range ep.Join.Sysctls {
			inside.sysctls[sysctlPath(strings.ReplaceAll(key, "IFNAME", ep.Join.Interface))] = value
		}
		p.interfaces[ep.Join.Sandbox] = append(p.interfaces[ep.Join.Sandbox], inside)
	}
}

// bridgeOf is the bridge of a network.
func bridgeOf(n *network, mtu int) wantLink {
	l := wantLink{
		name: bridgeName(n), kind: "bridge", driver: bridgeDriver, alias: "libcnm:" + bridgeDriver + ":network:" + n.ID,
		mac: roleMAC("bridge", n.ID), mtu: mtu, up: true,
	}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			l.addrs = append(l.addrs, netip.PrefixFrom(s.Gateway, s.Prefix.Bits()))
		}
	}
	l.sysctls = ipv6Of(l.name, l.addrs)
	return l
}

func bridgeName(n *network) string { return hashName("cnmb", 10, n.ID) }

// ipv6Of are the sysctls of an interface with these addresses.
func ipv6Of(name string, addrs []netip.Prefix) map[string]string {
	if !slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		return map[string]string{conf6(name, "disable_ipv6"): "1"}
	}
	return map[string]string{
		conf6(name, "disable_ipv6"): "0", conf6(name, "accept_ra"): "0", conf6(name, "accept_dad"): "0",
	}
}

func conf6(name, key string) string { return "net/ipv6/conf/" + name + "/" + key }

// sysctlPath is the file of a key in either of its spellings.
func sysctlPath(key string) string {
	if at := strings.IndexAny(key, "./"); at >= 0 && key[at] == '.' {
		return strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	return key
}

// hashName is how IDs become the names of links.
func hashName(prefix string, digits int, ids ...string) string {
	h := sha256.New()
	for _, id := range ids {
		fmt.Fprintf(h, "%d:%s", len(id), id)
	}
	return prefix + hex.EncodeToString(h.Sum(nil))[:digits]
}

// roleMAC is the address of a network's device.
func roleMAC(role, id string) drivers.MAC {
	sum := sha256.Sum256([]byte(role + " " + id))
	mac := drivers.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// groupOf is the link group of a driver's links, by which one is known that did not get as far as an alias.
func groupOf(driver string) uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "libcnm:%s:", driver)
	return h.Sum32() | 1
}
