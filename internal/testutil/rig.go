package testutil

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// HostsOptions describes the machines of a rig. The zero value is hosts with OVS, an IPv4 underlay of MTU 1500, no etcd.
type HostsOptions struct {
	IPv6Underlay bool // the hosts' VTEP addresses are IPv6; either way they have both
	MTU          int  // of the underlay; 0: 1500
	NoOVS        bool // no Open vSwitch: the uplink itself has the addresses
	Etcd         EtcdOptions
	EtcdMembers  int // 0: no etcd; else overrides Etcd's members and addresses
}

// Rig is a number of hosts on one underlay segment:
//
//	host1 ... hostN    own network, mount and UTS namespaces; own Open vSwitch with br-phy = uplink + VTEP
//	   |         |
//	   +- under0-+---- etcd members, each at an address of its own
//	   |         |
//	  the test  router ---- Outside, which has routes to the underlay but to nothing behind the hosts
type Rig struct {
	Hosts    []*Host
	Etcd     *EtcdCluster // nil without members
	Underlay *NS          // has the bridge under0, with one port per host, named as the host is
	Outside  *NS
	Outside4 netip.Addr
	Outside6 netip.Addr

	opts   HostsOptions
	serial int64
}

const (
	underlayBridge = "under0"
	routerNode     = 254
	testNode       = 250
	etcdNode       = 200 // and above
	maxHosts       = 199
)

var (
	rigSerial atomic.Int64

	routerOut4, outside4 = netip.MustParsePrefix("203.0.113.1/24"), netip.MustParsePrefix("203.0.113.2/24")
	routerOut6, outside6 = netip.MustParsePrefix("2001:db8:113::1/64"), netip.MustParsePrefix("2001:db8:113::2/64")
)

// NewHosts builds n hosts, with etcd if the options ask for it (then TestMain needs NeedEtcd), and takes everything down
// when the test ends.
func NewHosts(t TB, n int, opts HostsOptions) *Rig {
	t.Helper()
	if n < 1 || n > maxHosts {
		t.Fatalf("make hosts: %d is not between 1 and %d", n, maxHosts)
	}
	if opts.MTU == 0 {
		opts.MTU = 1500
	}
	r := &Rig{opts: opts, serial: rigSerial.Add(1), Outside4: outside4.Addr(), Outside6: outside6.Addr()}
	if r.serial > 255 {
		t.Fatalf("make hosts: a process can make 255 rigs")
	}
	r.makeUnderlay(t)
	r.Hosts = make([]*Host, n)
	tasks := make([]func(), n, n+1)
	for i := range n {
		tasks[i] = func() { r.Hosts[i] = r.newHost(t, i+1) }
	}
	if opts.EtcdMembers > 0 {
		tasks = append(tasks, func() { r.startEtcd(t) })
	}
	inParallel(t, tasks...)
	return r
}

// addrs are the addresses of a node on the underlay.
func (r *Rig) addrs(node int) (v4, v6 netip.Prefix) {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(r.serial), byte(node)}), 24),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x31, 5: byte(r.serial), 15: byte(node)}), 64)
}

func (r *Rig) makeUnderlay(t TB) {
	t.Helper()
	r.Underlay, r.Outside = NewNS(t), NewNS(t)
	for _, ns := range []*NS{r.Underlay, r.Outside} {
		// The tests' packets must not wait for links that are a second old to trust their link-local addresses.
		ns.Sysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	}
	r.Underlay.Sysctl(t, "net/ipv4/ip_forward", "1")
	r.Underlay.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = underlayBridge, r.opts.MTU
	if err := r.Underlay.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatalf("make underlay: %v", err)
	}
	router4, router6 := r.addrs(routerNode)
	r.Underlay.LinkUp(t, underlayBridge)
	r.Underlay.AddAddr(t, underlayBridge, router4, router6)

	connect(t, r.Underlay, "outside", r.Outside, "eth0", r.opts.MTU)
	r.Underlay.AddAddr(t, "outside", routerOut4, routerOut6)
	r.Outside.AddAddr(t, "eth0", outside4, outside6)
	r.Outside.AddRoute(t, router4.Masked(), routerOut4.Addr())
	r.Outside.AddRoute(t, router6.Masked(), routerOut6.Addr())

	home, leg := HomeNS(t), fmt.Sprintf("rig%d", r.serial)
	r.plug(t, home, leg, "test")
	t.Cleanup(func() {
		if err := home.handle.LinkDel(home.link(t, leg)); err != nil {
			t.Errorf("unplug the test from the underlay: %v", err)
		}
	})
	test4, test6 := r.addrs(testNode)
	home.AddAddr(t, leg, test4, test6)
}

// plug connects a namespace's link to a new port of the underlay.
func (r *Rig) plug(t TB, ns *NS, link, port string) {
	t.Helper()
	connect(t, r.Underlay, port, ns, link, r.opts.MTU)
	r.Underlay.TxOff(t, port) // what comes out at the other end may be read raw by an Open vSwitch
	bridge := r.Underlay.link(t, underlayBridge)
	if err := r.Underlay.handle.LinkSetMaster(r.Underlay.link(t, port), bridge); err != nil {
		t.Fatalf("plug %s into the underlay: %v", port, err)
	}
}

func (r *Rig) startEtcd(t TB) {
	t.Helper()
	opts := r.opts.Etcd
	opts.Members, opts.Addrs = r.opts.EtcdMembers, nil
	for i := range opts.Members {
		v4, v6 := r.addrs(etcdNode + i)
		r.Underlay.AddAddr(t, underlayBridge, v4, v6)
		opts.Addrs = append(opts.Addrs, v4.Addr().String())
	}
	opts.Wrap = func(_ int, cmd *exec.Cmd) {
		wrapped := r.Underlay.Command(cmd.Path, cmd.Args[1:]...)
		cmd.Path, cmd.Args, cmd.Err = wrapped.Path, wrapped.Args, wrapped.Err
	}
	r.Etcd = StartEtcd(t, opts)
}

// dir makes the directory with a host's files.
func (r *Rig) dir(t TB, host string) string {
	t.Helper()
	dir := filepath.Join("/run", fmt.Sprintf("rig%d", r.serial), host)
	for _, sub := range []string{"run/netns", "run/openvswitch", "lib"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatalf("make directories of %s: %v", host, err)
		}
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove directories of %s: %v", host, err)
		}
	})
	return dir
}

// inParallel runs functions that may call t.Fatalf, and fails the test if one of them did. A goroutine that fails ends by
// itself, as a test's own does.
func inParallel(t TB, tasks ...func()) {
	t.Helper()
	var running sync.WaitGroup
	var completed atomic.Int32
	for _, task := range tasks {
		running.Go(func() {
			task()
			completed.Add(1)
		})
	}
	running.Wait()
	if int(completed.Load()) != len(tasks) {
		t.Fatalf("the rig could not be built")
	}
}
