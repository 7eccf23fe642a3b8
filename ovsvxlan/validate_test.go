package ovsvxlan_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// wide is a network with everything that can be wrong.
func wide() ovsvxlan.Network {
	n := blue
	n.Subnets = append([]ovsvxlan.Subnet(nil), blue.Subnets...)
	n.Internal, n.Zone = false, 7
	n.Transit4, n.Transit6 = netip.MustParseAddr("169.254.64.2"), netip.MustParseAddr("fd00:cc::2")
	return n
}

func TestValidateBase(t *testing.T) {
	for _, tt := range []struct {
		want   string // part of the error; empty: valid
		change func(*ovsvxlan.Base)
	}{
		{"", func(*ovsvxlan.Base) {}},
		{"", func(b *ovsvxlan.Base) { *b = ovsvxlan.Base{TunnelPort: 1, TunnelUDPPort: 4789} }},
		{"", func(b *ovsvxlan.Base) { b.TransitPrefix6 = netip.Prefix{} }},
		{"tunnel port 0", func(b *ovsvxlan.Base) { b.TunnelPort = 0 }},
		{"tunnel port 65280", func(b *ovsvxlan.Base) { b.TunnelPort = 65280 }},
		{"tunnel UDP port 0", func(b *ovsvxlan.Base) { b.TunnelUDPPort = 0 }},
		{"gateway port 70000", func(b *ovsvxlan.Base) { b.GatewayPort = 70000 }},
		{"it is the tunnel port", func(b *ovsvxlan.Base) { b.GatewayPort = 1 }},
		{"not a unicast address", func(b *ovsvxlan.Base) { b.GatewayMAC = ovsvxlan.MAC{} }},
		{"not a unicast address", func(b *ovsvxlan.Base) { b.GatewayHostMAC[0] |= 1 }},
		{"169.254.64.1/18", func(b *ovsvxlan.Base) { b.TransitPrefix4 = netip.MustParsePrefix("169.254.64.1/18") }},
		{"fd00::/64", func(b *ovsvxlan.Base) { b.TransitPrefix4 = netip.MustParsePrefix("fd00::/64") }},
		{"", func(b *ovsvxlan.Base) { b.TransitPrefix4 = netip.MustParsePrefix("169.254.0.0/16") }},
		{"169.254.64.0/31", func(b *ovsvxlan.Base) { b.TransitPrefix4 = netip.MustParsePrefix("169.254.64.0/31") }},
		{"fd00::/127", func(b *ovsvxlan.Base) { b.TransitPrefix6 = netip.MustParsePrefix("fd00::/127") }},
		{"10.0.0.0/8", func(b *ovsvxlan.Base) { b.TransitPrefix6 = netip.MustParsePrefix("10.0.0.0/8") }},
	} {
		b := testBase
		tt.change(&b)
		_, err := ovsvxlan.CompileBase(b)
		checkInvalid(t, err, tt.want)
	}
}

func TestValidateNetwork(t *testing.T) {
	for _, tt := range []struct {
		want   string
		change func(*ovsvxlan.Network)
	}{
		{"", func(*ovsvxlan.Network) {}},
		{"", func(n *ovsvxlan.Network) { n.Subnets[0].Gateway = netip.Addr{} }},
		{"", func(n *ovsvxlan.Network) { n.Transit4, n.Transit6, n.Zone = netip.Addr{}, netip.Addr{}, 0 }},
		{"", func(n *ovsvxlan.Network) { n.VNI = ovsvxlan.MaxVNI }},
		{"no id", func(n *ovsvxlan.Network) { n.ID = "" }},
		{"VNI 0", func(n *ovsvxlan.Network) { n.VNI = 0 }},
		{"VNI 16777216", func(n *ovsvxlan.Network) { n.VNI = 1 << 24 }},
		{"gateway MAC", func(n *ovsvxlan.Network) { n.GatewayMAC = ovsvxlan.MAC{} }},
		{"no subnet", func(n *ovsvxlan.Network) { n.Subnets = nil }},
		{"10.1.0.1/16", func(n *ovsvxlan.Network) { n.Subnets[0].Prefix = netip.MustParsePrefix("10.1.0.1/16") }},
		{"subnet invalid", func(n *ovsvxlan.Network) { n.Subnets[0].Prefix = netip.Prefix{} }},
		{"gateway 10.2.0.1", func(n *ovsvxlan.Network) { n.Subnets[0].Gateway = netip.MustParseAddr("10.2.0.1") }},
		{"overlaps", func(n *ovsvxlan.Network) {
			n.Subnets = append(n.Subnets, ovsvxlan.Subnet{Prefix: netip.MustParsePrefix("10.1.2.0/24")})
		}},
		{"no conntrack zone", func(n *ovsvxlan.Network) { n.Zone = 0 }},
		{"169.254.1.1", func(n *ovsvxlan.Network) { n.Transit4 = netip.MustParseAddr("169.254.1.1") }},
		{"the host's own", func(n *ovsvxlan.Network) { n.Transit4 = netip.MustParseAddr("169.254.64.1") }},
		{"fd00:cd::2", func(n *ovsvxlan.Network) { n.Transit6 = netip.MustParseAddr("fd00:cd::2") }},
	} {
		n := wide()
		tt.change(&n)
		_, err := ovsvxlan.CompileNetwork(testBase, n)
		checkInvalid(t, err, tt.want)
	}
	_, err := ovsvxlan.CompileNetwork(ovsvxlan.Base{TunnelPort: 1, TunnelUDPPort: 4789}, wide())
	checkInvalid(t, err, "no gateway port")
}

func TestValidateEndpoint(t *testing.T) {
	for _, tt := range []struct {
		want   string
		change func(*ovsvxlan.Endpoint)
	}{
		{"", func(*ovsvxlan.Endpoint) {}},
		{"", func(e *ovsvxlan.Endpoint) { e.Addrs = nil }},
		{"its network is green", func(e *ovsvxlan.Endpoint) { e.Network = "green" }},
		{"port 0", func(e *ovsvxlan.Endpoint) { e.Port = 0 }},
		{"port 1", func(e *ovsvxlan.Endpoint) { e.Port = 1 }},
		{"port 2", func(e *ovsvxlan.Endpoint) { e.Port = 2 }},
		{"port 65534", func(e *ovsvxlan.Endpoint) { e.Port = 65534 }},
		{"not a unicast address", func(e *ovsvxlan.Endpoint) { e.MAC = ovsvxlan.MAC{1} }},
		{"or the gateway's", func(e *ovsvxlan.Endpoint) { e.MAC = blue.GatewayMAC }},
		{"10.2.0.1: in no subnet", func(e *ovsvxlan.Endpoint) { e.Addrs = []netip.Addr{netip.MustParseAddr("10.2.0.1")} }},
		{"in no subnet", func(e *ovsvxlan.Endpoint) { e.Addrs = []netip.Addr{{}} }},
		{"in no subnet", func(e *ovsvxlan.Endpoint) { e.Addrs = []netip.Addr{netip.MustParseAddr("fd01::2%eth0")} }},
		{"10.1.0.1: it is the gateway's", func(e *ovsvxlan.Endpoint) { e.Addrs = []netip.Addr{testAddr(1)} }},
		{"10.1.0.2: given twice", func(e *ovsvxlan.Endpoint) { e.Addrs = []netip.Addr{testAddr(2), testAddr(2)} }},
	} {
		e := endpoint("a", 11, 2, 2)
		tt.change(&e)
		_, err := ovsvxlan.CompileEndpoint(testBase, blue, e)
		checkInvalid(t, err, tt.want)
	}
}

func TestValidatePeer(t *testing.T) {
	for _, tt := range []struct {
		want   string
		change func(*ovsvxlan.Peer)
	}{
		{"", func(*ovsvxlan.Peer) {}},
		{"", func(p *ovsvxlan.Peer) { p.VTEP = netip.MustParseAddr("2001:db8::1") }},
		{"its network is green", func(p *ovsvxlan.Peer) { p.Network = "green" }},
		{"or the gateway's", func(p *ovsvxlan.Peer) { p.MAC = blue.GatewayMAC }},
		{"in no subnet", func(p *ovsvxlan.Peer) { p.Addrs = []netip.Addr{netip.MustParseAddr("fd02::1")} }},
		{"tunnel address invalid IP", func(p *ovsvxlan.Peer) { p.VTEP = netip.Addr{} }},
		{"tunnel address 0.0.0.0", func(p *ovsvxlan.Peer) { p.VTEP = netip.IPv4Unspecified() }},
		{"tunnel address ff02::1", func(p *ovsvxlan.Peer) { p.VTEP = netip.IPv6LinkLocalAllNodes() }},
		{"tunnel address ::ffff:192.0.2.1", func(p *ovsvxlan.Peer) { p.VTEP = netip.MustParseAddr("::ffff:192.0.2.1") }},
	} {
		p := peer("c", 1, 3, 3)
		tt.change(&p)
		_, err := ovsvxlan.CompilePeer(testBase, blue, p)
		checkInvalid(t, err, tt.want)
	}
}

func TestValidateMembers(t *testing.T) {
	for _, tt := range []struct {
		want    string
		members ovsvxlan.Members
	}{
		{"", ovsvxlan.Members{Network: "blue"}},
		{"their network is green", ovsvxlan.Members{Network: "green"}},
		{"endpoint port 0", ovsvxlan.Members{Network: "blue", Ports: []uint32{11, 0}}},
		{"tunnel address", ovsvxlan.Members{Network: "blue", VTEPs: []netip.Addr{{}}}},
	} {
		_, err := ovsvxlan.CompileMembers(testBase, blue, tt.members)
		checkInvalid(t, err, tt.want)
	}
}

// TestMembersOrder checks that equal sets have equal programs.
func TestMembersOrder(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.3")
	a := must(ovsvxlan.CompileMembers(testBase, blue, ovsvxlan.Members{Network: "blue", VTEPs: []netip.Addr{vtep, other}, Ports: []uint32{11, 12}}))(t)
	b := must(ovsvxlan.CompileMembers(testBase, blue, ovsvxlan.Members{Network: "blue", VTEPs: []netip.Addr{other, vtep, other}, Ports: []uint32{12, 11, 12}}))(t)
	if d := ovsvxlan.Diff(a, b); d.Len() != 0 {
		t.Errorf("differ: %v", d.Differences())
	}
}

func checkInvalid(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (!errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v; want ErrInvalid with %q", err, want)
	}
}
