package ovsvxlan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/internal/veths"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

func wantErr(t *testing.T, err, class error, parts ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got error %v, want class %q", err, class)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not name %q", err, p)
		}
	}
}

// Where Open vSwitch does not run, networks are refused at once, and having none is no error.
func TestWithoutOVS(t *testing.T) {
	testutil.NoLeaks(t)
	home := testutil.HomeNS(t)
	vtep := netip.MustParseAddr("192.0.2.9")
	home.AddAddr(t, "lo", netip.PrefixFrom(vtep, 32))
	d, err := New(Config{VTEP: vtep, OVSDB: "unix:/run/nowhere/db.sock", Firewall: new(fakeFirewall)})
	rig.Must(t, err)
	start := time.Now()
	wantErr(t, d.ApplyNetwork(t.Context(), overlay(1)), drivers.ErrUnavailable, "unix:/run/nowhere/db.sock")
	wantErr(t, d.Sync(t.Context(), []drivers.NetworkState{{Network: overlay(1)}}), drivers.ErrUnavailable, "unix:/run/nowhere/db.sock")
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v to say so", took)
	}
	rig.Must(t, d.Sync(t.Context(), nil))
	rig.Must(t, d.RemoveNetwork(t.Context(), overlay(1).ID))
	rig.Must(t, d.RemoveEndpoint(t.Context(), overlay(1).ID, "x"))
	if drift, err := d.Check(t.Context(), nil); err != nil || len(drift) > 0 {
		t.Errorf("check of nothing: %v, %v", drift, err)
	}
	if drift, err := d.Check(t.Context(), []drivers.NetworkState{{Network: overlay(1)}}); err != nil || len(drift) == 0 {
		t.Errorf("check of a network: %v, %v", drift, err)
	}
	rig.Must(t, d.Close())
}

func TestNewChecksItsConfig(t *testing.T) {
	_, err := New(Config{VTEP: netip.MustParseAddr("192.0.2.1")})
	wantErr(t, err, drivers.ErrInvalid, "firewall")
	_, err = New(Config{Firewall: new(fakeFirewall)})
	wantErr(t, err, drivers.ErrInvalid, "tunnel address")
}

func TestMTU(t *testing.T) {
	n := newNode(t)
	fw := new(fakeFirewall)
	n.fw, n.rules = fw, fw.dump
	d := n.newDriver(t)
	big := overlay(1)
	big.MTU = 1451
	before := n.dump(t)
	wantErr(t, d.ApplyNetwork(t.Context(), big), drivers.ErrInvalid, "1451", "1450", string(big.ID))
	if after := n.dump(t); after != before {
		t.Errorf("a refused network left\n%s", after)
	}
	rig.Must(t, d.ApplyNetwork(t.Context(), overlay(1)))
	b := join(t, d, overlay(1), 2)
	if _, err := testutil.PingSize(t.Context(), b.NS, rig.Addr(overlay(1).Subnets[0], 1), 1450); err != nil {
		t.Error(err)
	}
	s := drivers.NetworkState{Network: overlay(1), Endpoints: []drivers.Endpoint{b.Endpoint}, Members: []drivers.Member{
		{Node: "same", VTEP: netip.MustParseAddr("192.0.2.2"), MTU: 1500},
		{Node: "unknown", VTEP: netip.MustParseAddr("192.0.2.3")},
		{Node: "smaller", VTEP: netip.MustParseAddr("192.0.2.4"), MTU: 1400},
	}}
	rig.Must(t, d.Sync(t.Context(), []drivers.NetworkState{s}))
	drift, err := d.Check(t.Context(), []drivers.NetworkState{s})
	rig.Must(t, err)
	if len(drift) != 1 || drift[0].Object != "MTU of node smaller" || drift[0].Want != "1450" || drift[0].Have != "1350" {
		t.Errorf("mismatch reported as %v", drift)
	}
}

// The netdev datapath reads devices through packet sockets, so the host's own stack gets every frame too. It must do
// nothing with them: not answer for the gateway, not take a packet to one of its addresses, whatever MAC it is sent to.
func TestHostHearsNothing(t *testing.T) {
	n := newNode(t)
	d := n.newDriver(t)
	rig.Must(t, d.ApplyNetwork(t.Context(), overlay(1)))
	b := join(t, d, overlay(1), 2)
	hostAddr := netip.MustParseAddr("198.51.100.7")
	testutil.HomeNS(t).AddAddr(t, "lo", netip.PrefixFrom(hostAddr, 32))
	heard := make(chan string, 64)
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "0.0.0.0:9")
	rig.Must(t, err)
	go func() {
		defer close(heard)
		buf := make([]byte, 256)
		for {
			k, from, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed below
			}
			heard <- fmt.Sprintf("%q from %s", buf[:k], from)
		}
	}()
	var macs []net.HardwareAddr
	for last := range 16 {
		macs = append(macs, net.HardwareAddr{0x01, 0x80, 0xc2, 0, 0, byte(last)})
	}
	macs = append(macs, net.HardwareAddr{255, 255, 255, 255, 255, 255})
	for _, name := range []string{"br-phy", gatewayHost, gatewayPort, sinkName, veths.Name(b.Endpoint.Network, b.Endpoint.ID), "lo"} {
		if i, err := net.InterfaceByName(name); err == nil && len(i.HardwareAddr) == 6 {
			macs = append(macs, i.HardwareAddr)
		}
	}
	rig.Must(t, b.Do(func() error { return sendAll(macs, b.Endpoint.MAC, b.Addrs[0], hostAddr) }))
	rig.Reach(t, b.NS, rig.Addr(overlay(1).Subnets[0], 1)) // the frames before are through
	// The socket hears what is really sent to it, so that its silence says something.
	probe, err := net.Dial("udp4", netip.AddrPortFrom(hostAddr, 9).String())
	rig.Must(t, err)
	_, err = probe.Write([]byte("probe"))
	rig.Must(t, errors.Join(err, probe.Close()))
	if got := <-heard; !strings.Contains(got, `"probe"`) {
		t.Errorf("the host heard %s", got)
	}
	rig.Must(t, conn.Close())
	for got := range heard {
		t.Errorf("the host heard %s", got)
	}
}

// sendAll sends one UDP packet to port 9 of an address in a frame to each MAC, from eth0 of the calling thread's
// namespace.
func sendAll(macs []net.HardwareAddr, src drivers.MAC, from, to netip.Addr) error {
	device, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for _, mac := range macs {
		payload := []byte("to " + mac.String())
		ip := make([]byte, 28, 28+len(payload))
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], uint16(cap(ip)))
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], headerChecksum(ip[:20]))
		binary.BigEndian.PutUint16(ip[20:], 1000)
		binary.BigEndian.PutUint16(ip[22:], 9)
		binary.BigEndian.PutUint16(ip[24:], uint16(8+len(payload)))
		frame := append(append(append([]byte{}, mac...), src[:]...), 0x08, 0x00)
		frame = append(append(frame, ip...), payload...)
		if err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
			break
		}
	}
	return errors.Join(err, unix.Close(fd))
}

func headerChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum>>16 + sum&0xffff)
}

// OVS 3.1.0 with the netdev datapath dies of a flush that selects connections by an address and meets one of ICMPv6. What
// goes with an endpoint and with a network is flushed in other ways.
func TestRemovalSparesVswitchd(t *testing.T) {
	n := newNode(t)
	fw := new(fakeFirewall)
	n.fw, n.rules = fw, fw.dump
	d := n.newDriver(t)
	outside := rig.NewOutside(t, DefaultTransit4, DefaultTransit6)
	rig.Must(t, d.ApplyNetwork(t.Context(), overlay(1)))
	leaves, stays := join(t, d, overlay(1), 2), join(t, d, overlay(1), 3)
	for _, b := range []rig.Box{leaves, stays} {
		rig.Reach(t, b.NS, outside.Addrs...)
	}
	// The answer is that of the process that was started: nothing here starts another.
	connections := func() string { return n.ovs.Appctl(t, "dpctl/dump-conntrack") }
	if have := connections(); strings.Count(have, "icmpv6") < 2 {
		t.Errorf("want connections of ICMPv6, have\n%s", have)
	}
	rig.Must(t, d.RemoveEndpoint(t.Context(), overlay(1).ID, leaves.Endpoint.ID))
	rig.Reach(t, stays.NS, outside.Addrs...)
	rig.Must(t, d.RemoveNetwork(t.Context(), overlay(1).ID))
	if have := connections(); strings.Contains(have, "zone=") {
		t.Errorf("connections outlive their network:\n%s", have)
	}
}

// Closing a driver ends what it started, and leaves the traffic.
func TestCloseLeavesTraffic(t *testing.T) {
	n := newNode(t)
	d, err := n.open(t)
	rig.Must(t, err)
	rig.Must(t, d.ApplyNetwork(t.Context(), overlay(1)))
	a, b := join(t, d, overlay(1), 2), join(t, d, overlay(1), 3)
	rig.Must(t, d.Close())
	rig.Reach(t, a.NS, b.Addrs...)
	next := n.newDriver(t)
	rig.Must(t, next.Sync(context.WithoutCancel(t.Context()), nil))
}
