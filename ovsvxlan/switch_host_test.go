package ovsvxlan_test

import (
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// A bridge of that name that is not ours is refused, and neither its rows nor its flows are touched.
func TestForeignBridge(t *testing.T) {
	r := newHost(t)
	r.ovs.Vsctl(t, "add-br", "cnm-int", "--", "set", "bridge", "cnm-int", "datapath_type=netdev", "protocols=OpenFlow10,OpenFlow15")
	r.ovs.Ofctl(t, "add-flow", r.ovs.RunDir()+"/cnm-int.mgmt", "priority=7,actions=drop")
	before := r.dump(t)
	s := r.open(t)
	wantErr(t, s.ApplyNetwork(t.Context(), overlay(1)), errdefs.ErrConflict, "cnm-int")
	wantErr(t, s.Sync(t.Context(), []ovsvxlan.State{state(1)}), errdefs.ErrConflict, "cnm-int")
	if err := s.RemoveNetwork(t.Context(), id(1)); err != nil {
		t.Error(err)
	}
	if err := s.Sync(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if after := r.dump(t); after != before {
		t.Errorf("the foreign bridge was\n%s\nand is\n%s", before, after)
	}
}

// A port of somebody else with the name of ours is refused; others that stand on our bridge stay.
func TestForeignPorts(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	r.device(t, attached(1, 2))
	r.device(t, attached(1, 3))
	apply(t, s, state(1, 2))
	r.ovs.Vsctl(t, "add-port", "br-phy", attached(1, 3).Interface)
	wantErr(t, s.ApplyEndpoint(t.Context(), attached(1, 3)), errdefs.ErrConflict, attached(1, 3).Interface)
	r.ovs.Vsctl(t, "add-port", "cnm-int", "bystander", "--", "set", "interface", "bystander", "type=internal")
	if err := s.Sync(t.Context(), []ovsvxlan.State{state(1, 2)}); err != nil {
		t.Fatal(err)
	}
	r.ovs.Vsctl(t, "get", "port", "bystander", "name")
	r.ovs.Vsctl(t, "get", "port", attached(1, 3).Interface, "name")
	same(t, s, state(1, 2))
}

// On the netdev datapath tunnels leave only by an OVS bridge that has the VTEP address.
func TestVTEPMustBeOnABridge(t *testing.T) {
	r := newHost(t)
	lo := rigVTEP.Next()
	r.home.AddAddr(t, "lo", hostPrefix(lo))
	r.cfg.VTEP = lo
	wantErr(t, r.open(t).ApplyNetwork(t.Context(), overlay(1)), errdefs.ErrUnsupported, lo.String(), "lo", "netdev")
	r.cfg.VTEP = lo.Next()
	wantErr(t, r.open(t).ApplyNetwork(t.Context(), overlay(1)), errdefs.ErrUnavailable, lo.Next().String())
	if out := r.ovs.Vsctl(t, "list-br"); out != "br-phy\n" {
		t.Errorf("bridges %q after a refusal", out)
	}
}

// Where the kernel has no datapath of its own, netdev is found by trying.
func TestDatapathFallback(t *testing.T) {
	r := newHostOn(t, testutil.OVSOptions{System: true})
	s := r.open(t)
	if s.Datapath() != ovsvxlan.DatapathSystem {
		t.Fatalf("starts with datapath %s: ovs-vswitchd does not offer the kernel's", s.Datapath())
	}
	a := r.device(t, attached(1, 2))
	r.device(t, attached(1, 3))
	apply(t, s, state(1, 2, 3))
	if s.Datapath() != ovsvxlan.DatapathNetdev {
		t.Skip("this kernel has a datapath for Open vSwitch: nothing to fall back from")
	}
	reach(t, a, addr4(3), addr6(3))
	if again := r.open(t); again.Datapath() != ovsvxlan.DatapathNetdev {
		t.Errorf("the next process starts with datapath %s", again.Datapath())
	}
}

// A device that cannot be opened is an error in OVS's words, and its row does not stay behind.
func TestDeviceMissing(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	r.device(t, attached(1, 2))
	apply(t, s, state(1, 2))
	before := r.ovs.Vsctl(t, "list-ports", "cnm-int")
	wantErr(t, s.ApplyEndpoint(t.Context(), attached(1, 3)), errdefs.ErrUnavailable, attached(1, 3).Interface, "No such device")
	if after := r.ovs.Vsctl(t, "list-ports", "cnm-int"); after != before {
		t.Errorf("ports were %q and are %q", before, after)
	}
	select {
	case reason := <-s.Events():
		t.Errorf("the switch reports its own removal: %s", reason)
	default:
	}
	if err := s.RemoveEndpoint(t.Context(), id(1), attached(1, 3).ID); err != nil {
		t.Fatal(err)
	}
	same(t, s, state(1, 2))
}

// A device that was made again under its name must be opened again: OVS alone keeps reading the old one.
func TestDeviceMadeAgain(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	a, b := r.device(t, attached(1, 2)), r.device(t, attached(1, 3))
	apply(t, s, state(1, 2, 3))
	reach(t, a, addr4(3))
	r.unplug(t, attached(1, 3).Interface)
	r.plug(t, attached(1, 3), b)
	if err := s.ApplyEndpoint(t.Context(), attached(1, 3)); err != nil {
		t.Fatal(err)
	}
	reachSoon(t, a, addr4(3), addr6(3))
	r.unplug(t, attached(1, 3).Interface)
	r.plug(t, attached(1, 3), b)
	found, err := s.Check(t.Context(), []ovsvxlan.State{state(1, 2, 3)})
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Object, attached(1, 3).Interface) {
		t.Errorf("%v, %v; want the device that is another one", found, err)
	}
	if err := s.Sync(t.Context(), []ovsvxlan.State{state(1, 2, 3)}); err != nil {
		t.Fatal(err)
	}
	reachSoon(t, a, addr4(3), addr6(3))
}
