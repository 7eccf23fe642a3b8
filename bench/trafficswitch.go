package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

const (
	overlayBridge = ovsvxlan.DefaultBridge
	netdev        = string(ovsvxlan.DatapathNetdev)
	handKey       = 42 // VNI of the tunnel by hand, another than that of libcnm's network
)

// handSwitch is a bridge of the host's Open vSwitch, beside libcnm's and on the same kind of datapath.
type handSwitch struct {
	host  *testutil.Host
	kind  string // of datapath
	ports int
}

func newHandSwitch(t testutil.TB, h *testutil.Host) *handSwitch {
	t.Helper()
	s := &handSwitch{host: h, kind: strings.TrimSpace(h.OVS.Vsctl(t, "get", "bridge", overlayBridge, "datapath_type"))}
	h.OVS.Vsctl(t, "add-br", handName, "--", "set", "bridge", handName, "datapath_type="+s.kind, "fail_mode=secure")
	return s
}

// add gives the switch one more port and returns its number.
func (s *handSwitch) add(t testutil.TB, name string, settings ...string) int {
	t.Helper()
	s.ports++
	args := []string{"add-port", handName, name, "--", "set", "interface", name, "ofport_request=" + strconv.Itoa(s.ports)}
	s.host.OVS.Vsctl(t, append(args, settings...)...)
	return s.ports
}

// plug connects a namespace.
func (s *handSwitch) plug(t testutil.TB, ns *testutil.NS, mtu int) int {
	t.Helper()
	name := handName + "-" + strconv.Itoa(s.ports)
	testutil.Connect(t, s.host.NS, name, ns, inside)
	s.host.NS.Sysctl(t, "net/ipv6/conf/"+name+"/disable_ipv6", "1")
	setMTU(t, s.host.NS, name, mtu)
	setMTU(t, ns, inside, mtu)
	if s.kind == netdev {
		ns.TxOff(t, inside)
	}
	return s.add(t, name)
}

func setMTU(t testutil.TB, ns *testutil.NS, link string, mtu int) {
	t.Helper()
	l, err := ns.Netlink().LinkByName(link)
	if err == nil {
		err = ns.Netlink().LinkSetMTU(l, mtu)
	}
	if err != nil {
		t.Fatalf("set MTU of %s in %s: %v", link, ns.Name, err)
	}
}

// patch sends what comes in by one port out by the other, both ways: one static flow each.
func (s *handSwitch) patch(t testutil.TB, a, b int) {
	t.Helper()
	for _, p := range [][2]int{{a, b}, {b, a}} {
		s.host.OVS.Ofctl(t, "add-flow", handName, fmt.Sprintf("in_port=%d,actions=output:%d", p[0], p[1]))
	}
}

// handNear is between two namespaces on one switch.
func handNear(t testutil.TB, s *handSwitch, mtu int) *way {
	t.Helper()
	from, to := testutil.NewNS(t), testutil.NewNS(t)
	s.patch(t, s.plug(t, from, mtu), s.plug(t, to, mtu))
	return handWay(t, "OVS by hand, one host", from, to)
}

// handFar is between namespaces on two switches, by a VXLAN port for the other host on each.
func handFar(t testutil.TB, a, b *handSwitch, mtu int) *way {
	t.Helper()
	from, to := testutil.NewNS(t), testutil.NewNS(t)
	a.patch(t, a.plug(t, from, mtu), a.tunnel(t, b.host.VTEP))
	b.patch(t, b.plug(t, to, mtu), b.tunnel(t, a.host.VTEP))
	return handWay(t, "OVS by hand, two hosts", from, to)
}

func (s *handSwitch) tunnel(t testutil.TB, remote netip.Addr) int {
	t.Helper()
	return s.add(t, handName+"-vxlan", "type=vxlan", "options:remote_ip="+remote.String(),
		"options:local_ip="+s.host.VTEP.String(), "options:key="+strconv.Itoa(handKey), "options:csum=true")
}
