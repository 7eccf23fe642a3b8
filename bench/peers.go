package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/ovsvxlan"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/iptables"
)

const (
	peerCount   = 10_000
	peerMembers = 100
)

// peers is what the driver ovs-vxlan, in a process of its own, needs to program many endpoints of other nodes at once. Each has
// one address, of IPv4.
type peers struct {
	Count   int           `json:"count"`
	Took    time.Duration `json:"took_ns"`
	OneMore time.Duration `json:"one_change_among_them_ns"`
	Driver  int64         `json:"driver_bytes"` // how much its process's peak of resident memory grew
	Switch  int64         `json:"ovs_vswitchd_bytes"`
}

func measurePeers(t testutil.TB, h *testutil.Host) peers {
	t.Helper()
	h.Start(t)
	_, vswitchd := h.OVS.Pids()
	before, err := memoryOf(vswitchd, "VmRSS")
	if err != nil {
		t.Fatalf("memory of ovs-vswitchd: %v", err)
	}
	var p peers
	if err := h.Call(t.Context(), "peers", h.VTEP, &p); err != nil {
		t.Fatalf("program peers: %v", err)
	}
	after, err := memoryOf(vswitchd, "VmHWM")
	if err != nil {
		t.Fatalf("memory of ovs-vswitchd: %v", err)
	}
	p.Switch = after - before
	return p
}

// programPeers is the worker's part.
func programPeers(ctx context.Context, vtep netip.Addr) (p peers, err error) {
	firewall, err := iptables.New(iptables.Config{})
	if err != nil {
		return p, err
	}
	driver, err := ovsvxlan.New(ovsvxlan.Config{VTEP: vtep, Firewall: firewall})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	n := drivers.Network{
		ID: drivers.NetworkID(strings.Repeat("ab", 16)), Name: "peers", VNI: 77,
		Subnets: []drivers.Subnet{{Prefix: netip.MustParsePrefix(subnetText), Gateway: netip.MustParseAddr(gatewayText)}},
	}
	if err := driver.ApplyNetwork(ctx, n); err != nil {
		return p, err
	}
	update := manyPeers()
	before, err := memoryOf(os.Getpid(), "VmRSS")
	if err != nil {
		return p, err
	}
	start := time.Now()
	if err := driver.ApplyPeers(ctx, n.ID, update); err != nil {
		return p, err
	}
	p.Count, p.Took = len(update.Set), time.Since(start)

	moved := update.Set[peerCount/2]
	moved.Generation++
	moved.VTEP = update.Members[0].VTEP
	start = time.Now()
	if err := driver.ApplyPeers(ctx, n.ID, drivers.PeerUpdate{Set: []drivers.Peer{moved}, Members: update.Members}); err != nil {
		return p, err
	}
	p.OneMore = time.Since(start)
	after, err := memoryOf(os.Getpid(), "VmHWM")
	p.Driver = after - before
	return p, err
}

// manyPeers are peerCount endpoints with an IPv4 address each, spread evenly over peerMembers nodes.
func manyPeers() drivers.PeerUpdate {
	u := drivers.PeerUpdate{Full: true}
	for i := range peerMembers {
		u.Members = append(u.Members, drivers.Member{
			Node: fmt.Sprintf("node%d", i), VTEP: netip.AddrFrom4([4]byte{172, 30, 0, byte(i + 1)}), MTU: 1500,
		})
	}
	for i := range peerCount {
		high, low := byte((i+256)>>8), byte(i)
		u.Set = append(u.Set, drivers.Peer{
			Endpoint: drivers.EndpointID(fmt.Sprintf("%032x", i+1)), Generation: uint64(i + 1),
			MAC:   drivers.MAC{2, 0, 0, 0, high, low},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 77, high, low})},
			VTEP:  u.Members[i%peerMembers].VTEP,
		})
	}
	return u
}

// memoryOf reads one of the memory figures of a process, in bytes.
func memoryOf(pid int, figure string) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), figure+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read %s of process %d: %w", figure, pid, err)
			}
			return kb << 10, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("process %d has no %s", pid, figure), lines.Err())
}
