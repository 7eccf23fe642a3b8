package main

import (
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/child"
)

func TestMain(m *testing.M) { child.Main(m, main) }

// office plugs a segment with one machine into a new host.
func office(t *testing.T) *testutil.Host {
	t.Helper()
	h := testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true}).Hosts[0]
	machine := testutil.NewNS(t)
	testutil.Connect(t, h.NS, "segment", machine, "eth0")
	machine.AddAddr(t, "eth0", netip.MustParsePrefix("192.168.7.1/24"), netip.MustParsePrefix("fd07::1/64"))
	return h
}

func TestReachesTheSegment(t *testing.T) {
	h := office(t)
	before := h.Run(t, "ip", "-o", "link", "show")
	p := child.Start(t, h, "-uplink", "segment", "-address", "192.168.7.20/24", "-address", "fd07::20/64",
		"-ping", "192.168.7.1", "-ping", "fd07::1")
	p.Line("customdriver is in the segment as [192.168.7.20 fd07::20]")
	p.Line("customdriver reaches 192.168.7.1")
	p.Line("customdriver reaches fd07::1")
	p.Exit(0)
	if after := h.Run(t, "ip", "-o", "link", "show"); after != before {
		t.Errorf("links before:\n%s\nafter:\n%s", before, after)
	}
}

// What the driver refuses comes out as the library's error, and leaves nothing.
func TestUplinkThatIsNotThere(t *testing.T) {
	h := office(t)
	before := h.Run(t, "ip", "-o", "link", "show")
	p := child.Start(t, h, "-uplink", "absent0", "-address", "192.168.7.20/24")
	p.Line("create network customdriver", "absent0", "not found")
	p.Exit(1)
	if after := h.Run(t, "ip", "-o", "link", "show"); after != before {
		t.Errorf("links before:\n%s\nafter:\n%s", before, after)
	}
}
