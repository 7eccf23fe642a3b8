package main

import (
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink" //nolint:depguard // what is built by hand is built with netlink and nothing above it

	"github.com/libcnm/libcnm/internal/testutil"
)

// What is built by hand has the same MTU and the same offloads as what libcnm builds: those that the kernel gives a veth,
// but on Open vSwitch's netdev datapath no checksum offload in the namespaces, without which TCP does not work there.
const (
	inside   = "eth0"
	handName = "hand0"
)

// Ways are in namespaces of their own, so all may have the same addresses.
var handFrom, handTo = handAddrs(1), handAddrs(2)

func handAddrs(host byte) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 78, 0, host}), 16),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x78, 15: host}), 64),
	}
}

func handWay(t testutil.TB, name string, from, to *testutil.NS) *way {
	t.Helper()
	from.AddAddr(t, inside, handFrom...)
	to.AddAddr(t, inside, handTo...)
	w := &way{name: name, from: from, to: to}
	for i := range handTo {
		w.sources, w.addrs = append(w.sources, handFrom[i].Addr()), append(w.addrs, handTo[i].Addr())
	}
	return w
}

// handPair is a veth pair and nothing else: what the kernel needs at least.
func handPair(t testutil.TB) *way {
	t.Helper()
	from, to := testutil.NewNS(t), testutil.NewNS(t)
	testutil.Connect(t, from, inside, to, inside)
	return handWay(t, "veth pair", from, to)
}

// handBridge is a Linux bridge with two ports.
func handBridge(t testutil.TB, h *testutil.Host, name string) *way {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = handName
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.NS.Netlink().LinkAdd(bridge); err != nil {
		t.Fatalf("make bridge %s on %s: %v", handName, h.Name, err)
	}
	ends := make([]*testutil.NS, 2)
	for i := range ends {
		ends[i] = testutil.NewNS(t)
		port := handName + "-" + strconv.Itoa(i)
		testutil.Connect(t, h.NS, port, ends[i], inside)
		l, err := h.NS.Netlink().LinkByName(port)
		if err == nil {
			err = h.NS.Netlink().LinkSetMaster(l, bridge)
		}
		if err != nil {
			t.Fatalf("plug %s into %s on %s: %v", port, handName, h.Name, err)
		}
	}
	h.NS.LinkUp(t, handName)
	return handWay(t, name, ends[0], ends[1])
}

// bridgeFilter is where a host says whether its firewall sees what bridges forward; absent without br_netfilter.
const bridgeFilter = "net/bridge/bridge-nf-call-"

func filtersBridges(h *testutil.Host) bool {
	return h.NS.Do(func() error {
		_, err := os.Stat("/proc/sys/" + bridgeFilter + "iptables")
		return err
	}) == nil
}

func filterBridges(t testutil.TB, h *testutil.Host, on string) {
	t.Helper()
	h.NS.Sysctl(t, bridgeFilter+"iptables", on)
	h.NS.Sysctl(t, bridgeFilter+"ip6tables", on)
}
