package testutil

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync/atomic"
)

const (
	// PhysicalBridge is a host's netdev bridge with its uplink and its VTEP address. The kernel's datapath needs none.
	PhysicalBridge = "br-phy"

	uplink = "uplink"
)

// Host is one machine of a rig. Its /run and /var/lib are its own, so that every default path of the library works on it.
type Host struct {
	Name     string     // also its hostname
	NS       *NS        // its network namespace
	OVS      *OVS       // runs at the default place, /run/openvswitch; nil with NoOVS
	VTEP     netip.Addr // Addr4 or Addr6, as the underlay's options say
	Addr4    netip.Addr
	Addr6    netip.Addr
	Dir      string // its /run and /var/lib as this process sees them: Dir/run and Dir/lib, without what is mounted there
	Physical string // the link that has the addresses: PhysicalBridge, or the uplink with NoOVS or KernelDatapath

	rig   *Rig
	space *space
	agent atomic.Pointer[agentProcess] // nil when none was started, or it was killed
}

func (r *Rig) newHost(t TB, number int) *Host {
	t.Helper()
	h := &Host{Name: fmt.Sprintf("host%d", number), Physical: uplink, rig: r}
	h.Dir = r.dir(t, h.Name)
	var err error
	if h.space, err = newSpace(h.Name, h.Dir); err != nil {
		t.Fatalf("make %s: %v", h.Name, err)
	}
	t.Cleanup(func() {
		if err := h.space.close(); err != nil {
			t.Errorf("close %s: %v", h.Name, err)
		}
	})
	h.NS = OpenNS(t, procFD(h.space.net))
	h.NS.Name = h.Name

	r.plug(t, h.NS, uplink, h.Name)
	v4, v6 := r.addrs(number)
	h.Addr4, h.Addr6 = v4.Addr(), v6.Addr()
	h.VTEP = h.Addr4
	if r.opts.IPv6Underlay {
		h.VTEP = h.Addr6
	}
	if !r.opts.NoOVS {
		h.startOVS(t)
	}
	if !r.opts.NoOVS && !KernelDatapath() {
		h.addPhysicalBridge(t, number)
	}
	h.NS.Sysctl(t, "net/ipv6/conf/"+h.Physical+"/accept_dad", "0")
	h.NS.AddAddr(t, h.Physical, v4, v6)
	h.NS.LinkUp(t, h.Physical)
	router4, router6 := r.addrs(routerNode)
	h.NS.AddRoute(t, netip.Prefix{}, router4.Addr())
	h.NS.AddRoute(t, netip.Prefix{}, router6.Addr())
	t.Cleanup(func() { h.closeAgent(t) })
	return h
}

func (h *Host) startOVS(t TB) {
	t.Helper()
	h.OVS = &OVS{dir: filepath.Join(h.Dir, "run/openvswitch"), in: h, inside: "/run/openvswitch", system: KernelDatapath()}
	h.OVS.start(t)
}

// addPhysicalBridge gives the host's Open vSwitch the uplink, because netdev sends tunnels only from its own bridges.
func (h *Host) addPhysicalBridge(t TB, number int) {
	t.Helper()
	// A netdev bridge reads its links through packet sockets, so the host's own network stack gets every frame too. It
	// must answer none: no ARP for the bridge's addresses, no IPv6, and frames to br-phy are not to the uplink's MAC.
	h.NS.Sysctl(t, "net/ipv4/conf/"+uplink+"/arp_ignore", "8")
	h.NS.Sysctl(t, "net/ipv6/conf/"+uplink+"/disable_ipv6", "1")
	mac := fmt.Sprintf("02:00:ac:1f:%02x:%02x", h.rig.serial, number)
	h.OVS.Vsctl(t, "add-br", PhysicalBridge, "--", "set", "bridge", PhysicalBridge, "datapath_type=netdev",
		"fail_mode=standalone", `other_config:hwaddr="`+mac+`"`, "--", "add-port", PhysicalBridge, uplink)
	h.Physical = PhysicalBridge
}

// Command prepares a program that runs on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd { return h.space.command(name, args...) }

// Run runs a program on the host to its end and returns what it printed; its failure fails the test.
func (h *Host) Run(t TB, name string, args ...string) string {
	t.Helper()
	out, err := output(t.Context(), h.Command(name, args...))
	if err != nil {
		t.Fatalf("on %s: %v", h.Name, err)
	}
	return out
}

// OpenNS opens a network namespace by its path on the host, such as a sandbox's.
func (h *Host) OpenNS(t TB, path string) *NS {
	t.Helper()
	file, err := h.space.open(path)
	if err != nil {
		t.Fatalf("open namespace %s on %s: %v", path, h.Name, err)
	}
	ns := openNS(t, file)
	ns.Name = h.Name + ":" + filepath.Base(path)
	return ns
}

// Capture watches what passes between the host and the underlay.
func (h *Host) Capture(t TB, match func(Frame) bool) *Capture {
	t.Helper()
	return StartCapture(t, h.rig.Underlay, h.Name, match)
}

// Cut pulls the host's cable.
func (h *Host) Cut(t TB) {
	t.Helper()
	h.rig.Underlay.LinkDown(t, h.Name)
}

// Restore ends Cut.
func (h *Host) Restore(t TB) {
	t.Helper()
	h.rig.Underlay.LinkUp(t, h.Name)
}

// FlushRules removes every iptables rule and chain of both families, as an administrator or a restarted firewall does.
func (h *Host) FlushRules(t TB) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"raw", "mangle", "nat", "filter"} {
			h.Run(t, program, "--wait", "-t", table, "-F")
			h.Run(t, program, "--wait", "-t", table, "-X")
		}
	}
}
