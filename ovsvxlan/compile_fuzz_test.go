package ovsvxlan_test

import (
	"errors"
	"net/netip"
	"regexp"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// safeFlow is what a flow may consist of: nothing that ends a line or begins another command of a bundle.
var safeFlow = regexp.MustCompile(`\A[A-Za-z0-9_.,:;=/()\[\]>+*~-]+\z`)

// FuzzCompile: whatever a spec says, it is refused as ErrInvalid or becomes flows that are one line each, of the words of
// flows alone, and read back as themselves.
func FuzzCompile(f *testing.F) {
	f.Add("0a", uint32(7), "10.0.0.0/24", "10.0.0.1", "02:00:00:00:00:01", "e1", "02:00:00:00:00:02", "10.0.0.2", "192.0.2.2", uint32(3))
	f.Add("0b", uint32(1<<24), "fd00::/64", "fd00::1%a,actions=normal", "ff:ff:ff:ff:ff:ff", "e\n", "01:00:00:00:00:02", "fd00::2", "fe80::1%x\ny", uint32(0))
	f.Add("a\nadd table=0,actions=normal", uint32(9), "10.0.0.0/24", "", "02:00:00:00:00:01", "x", "02:00:00:00:00:03", "10.0.0.9", "2001:db8::1", uint32(9))
	f.Fuzz(func(t *testing.T, id string, vni uint32, subnet, gateway, gwMAC, epID, mac, addr, vtep string, port uint32) {
		base := ovsvxlan.Base{
			TunnelPort: 1, TunnelUDPPort: 4789, GatewayPort: 2, GatewayMAC: ovsvxlan.MAC{2, 0, 0, 0, 9, 1}, GatewayHostMAC: ovsvxlan.MAC{2, 0, 0, 0, 9, 2},
			TransitPrefix4: netip.MustParsePrefix("169.254.64.0/18"), TransitPrefix6: netip.MustParsePrefix("fd6c::/64"),
		}
		n := ovsvxlan.Network{ID: id, VNI: vni, Zone: 5, GatewayMAC: hardware(gwMAC), Transit4: netip.MustParseAddr("169.254.64.5")}
		if p, err := netip.ParsePrefix(subnet); err == nil {
			n.Subnets = []ovsvxlan.Subnet{{Prefix: p, Gateway: address(gateway)}}
		}
		addrs := []netip.Addr{address(addr)}
		check(t)(ovsvxlan.CompileNetwork(base, n))
		check(t)(ovsvxlan.CompileEndpoint(base, n, ovsvxlan.Endpoint{ID: epID, Network: id, Port: port, MAC: hardware(mac), Addrs: addrs}))
		check(t)(ovsvxlan.CompilePeer(base, n, ovsvxlan.Peer{ID: epID, Network: id, MAC: hardware(mac), Addrs: addrs, VTEP: address(vtep)}))
		check(t)(ovsvxlan.CompileMembers(base, n, ovsvxlan.Members{Network: id, VTEPs: []netip.Addr{address(vtep)}, Ports: []uint32{port}}))
	})
}

func address(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a
}

func hardware(s string) (m ovsvxlan.MAC) {
	if err := m.UnmarshalText([]byte(s)); err != nil {
		return ovsvxlan.MAC{}
	}
	return m
}

// check looks at what a compiler returned.
func check(t *testing.T) func(ovsvxlan.Program, error) {
	return func(p ovsvxlan.Program, err error) {
		t.Helper()
		if err != nil {
			if !errors.Is(err, errdefs.ErrInvalid) {
				t.Errorf("%v, want ErrInvalid", err)
			}
			return
		}
		for _, flow := range p.Flows() {
			text := flow.String()
			if !safeFlow.MatchString(text) {
				t.Errorf("flow %q", text)
			}
			if again, err := ovsvxlan.ParseFlow(text); err != nil || again != flow {
				t.Errorf("flow %q reads back as %q, %v", text, again, err)
			}
		}
	}
}

// FuzzParseDump: what ovs-ofctl prints is read or refused, never a panic, and what was read can be compared with itself.
func FuzzParseDump(f *testing.F) {
	f.Add([]byte(" cookie=0x1, table=1, priority=1,ip actions=drop\n"), []byte("OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):\n group_id=1,type=all,bucket=bucket_id:0,actions=output:1\n"))
	f.Add([]byte("actions="), []byte("group_id=99999999999999999999,type=all"))
	f.Fuzz(func(t *testing.T, flows, groups []byte) {
		p, err := ovsvxlan.ParseDump(flows, groups)
		if err != nil {
			return
		}
		if d := ovsvxlan.Diff(p, p); d.Len() != 0 {
			t.Errorf("differs from itself by %d", d.Len())
		}
	})
}
