package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
)

// joined makes two sandboxes on one pair, configured, in their own namespaces.
func joined(t *testing.T) (a, b *Handle) {
	t.Helper()
	_, a = sandbox(t)
	ns, b := sandbox(t)
	must(t, a.EnsureVeth(t.Context(), Veth{Name: "eth0", Alias: mark("e"), MAC: mac(1), Peer: VethPeer{Name: "eth0", NS: ns, MAC: mac(2)}}))
	for n, h := range []*Handle{a, b} {
		must(t, h.Configure(t.Context(), Interface{Name: "eth0", Up: true, Addrs: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 15: byte(n + 1)}), 64),
		}}))
	}
	return a, b
}

func TestAnnounceIsUnderstoodByTheNeighbour(t *testing.T) {
	a, b := joined(t)
	must(t, a.WaitUp(t.Context(), "eth0"))
	addrs := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}
	// The neighbour remembers an earlier owner of the addresses.
	index := mustLink(t, b, "eth0").Index
	must(t, b.use(t.Context(), func(c *conn) error {
		var errs []error
		for _, at := range addrs {
			errs = append(errs, c.NeighSet(neighbour(index, at, mac(99))))
		}
		return errors.Join(errs...)
	}))
	must(t, a.Announce(t.Context(), "eth0", addrs))
	testutil.Eventually(t, 3*time.Second, func() error {
		return b.use(t.Context(), func(c *conn) error {
			for _, at := range addrs {
				if got := neighbourMAC(c, index, at); got != mac(1).String() {
					return errors.New(at.String() + " is still " + got)
				}
			}
			return nil
		})
	})
	for _, keep := range []map[string]string{
		{"net.ipv4.conf.eth0.arp_notify": "0", "net.ipv6.conf.eth0.ndisc_notify": "1"},
		{"net.ipv4.conf.eth0.arp_notify": "1", "net.ipv6.conf.eth0.ndisc_notify": "0"},
	} {
		must(t, a.SetSysctls(t.Context(), keep))
		must(t, a.Announce(t.Context(), "eth0", addrs))
		for key, want := range keep {
			if have, err := a.Sysctl(t.Context(), key); have != want || err != nil {
				t.Errorf("%s is %q afterwards, %v; want what it was, %s", key, have, err, want)
			}
		}
	}
	if err := a.Announce(t.Context(), "eth9", addrs); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent interface: %v, want ErrNotFound", err)
	}
}

func neighbour(index int, at netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: index, IP: at.AsSlice(), HardwareAddr: mac, State: netlink.NUD_STALE}
}

func neighbourMAC(c *conn, index int, at netip.Addr) string {
	list, err := c.NeighList(index, familyOf(at))
	if err != nil {
		return err.Error()
	}
	for _, n := range list {
		if n.IP.Equal(at.AsSlice()) {
			return n.HardwareAddr.String()
		}
	}
	return "unknown"
}

func TestWaitUpNeedsBothEnds(t *testing.T) {
	a, b := joined(t)
	must(t, a.WaitUp(t.Context(), "eth0"))
	must(t, b.use(t.Context(), func(c *conn) error {
		l, err := c.LinkByName("eth0")
		return errors.Join(err, c.LinkSetDown(l))
	}))
	testutil.Eventually(t, 2*time.Second, func() error {
		if mustLink(t, a, "eth0").oper == netlink.OperUp {
			return errors.New("still operational")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.WaitUp(ctx, "eth0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a carrier: %v, want the context's error", err)
	}
	// The other end may be slower.
	must(t, b.Configure(t.Context(), Interface{Name: "eth0", Up: true}))
	must(t, a.WaitUp(t.Context(), "eth0"))
	setOperState(t, b, netlink.OperDormant)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := a.WaitUp(ctx, "eth0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with the other end dormant: %v, want the context's error", err)
	}
	done := make(chan error, 1)
	go func() { done <- a.WaitUp(t.Context(), "eth0") }()
	setOperState(t, b, netlink.OperUp)
	must(t, <-done)
	// The loopback has an IPv6 address, and never listens for its neighbours.
	if ok, err := a.listens(t.Context(), mustLink(t, a, "lo")); ok || err != nil {
		t.Errorf("without the multicast group: %v, %v", ok, err)
	}
	if ok, err := a.listens(t.Context(), mustLink(t, a, "eth0")); !ok || err != nil {
		t.Errorf("with the multicast group: %v, %v", ok, err)
	}
}

func setOperState(t *testing.T, h *Handle, state netlink.LinkOperState) {
	t.Helper()
	must(t, h.use(t.Context(), func(c *conn) error {
		l, err := c.link("eth0")
		return errors.Join(err, c.changes.apply(newChange("set state of", "eth0", unix.RTM_SETLINK, 0, header(l.Index),
			attr(unix.IFLA_LINKMODE, []byte{1}), attr(unix.IFLA_OPERSTATE, []byte{byte(state)}))))
	}))
}

func TestTheFirstPacketAfterWaitUpArrives(t *testing.T) {
	_, host := sandbox(t)
	must(t, host.EnsureBridge(t.Context(), Bridge{Name: "br", Alias: owner.String(), MAC: mac(200)}))
	for round, addr := range []string{"10.0.0.%d/24", "fd00::%d/64", "10.0.0.%d/24", "fd00::%d/64", "10.0.0.%d/24", "fd00::%d/64"} {
		var ends [2]*NS
		for n := range ends {
			ns, inside := sandbox(t)
			ends[n] = ns
			name := fmt.Sprintf("cnmv%d%d", round, n)
			must(t, host.EnsureVeth(t.Context(), Veth{Name: name, Alias: mark(name), Master: "br", Peer: VethPeer{Name: "eth0", NS: ns}}))
			must(t, inside.Configure(t.Context(), Interface{Name: "eth0", Up: true, Addrs: prefixes(fmt.Sprintf(addr, n+1))}))
			must(t, inside.WaitUp(t.Context(), "eth0"))
		}
		from := testutil.OpenNS(t, ends[0].file.Name())
		took, err := testutil.Ping(t.Context(), from, netip.MustParsePrefix(fmt.Sprintf(addr, 2)).Addr())
		if err != nil || took > 900*time.Millisecond {
			t.Errorf("round %d: first ping took %v: %v", round, took, err)
		}
		for n := range ends {
			name := fmt.Sprintf("cnmv%d%d", round, n)
			must(t, host.DeleteLink(t.Context(), name, mark(name)))
		}
	}
}

func TestStatsCount(t *testing.T) {
	a, _ := joined(t)
	must(t, a.WaitUp(t.Context(), "eth0"))
	before, err := a.Stats(t.Context(), "eth0")
	must(t, err)
	must(t, a.Announce(t.Context(), "eth0", []netip.Addr{netip.MustParseAddr("10.0.0.1")}))
	after, err := a.Stats(t.Context(), "eth0")
	must(t, err)
	if after.TxPackets < before.TxPackets+1 || after.TxBytes < before.TxBytes+42 {
		t.Errorf("before %+v, after %+v: want one packet of 42 bytes more", before, after)
	}
	if _, err := a.Stats(t.Context(), "eth9"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent: %v, want ErrNotFound", err)
	}
}

func TestWatchTellsOfChanges(t *testing.T) {
	testutil.NoLeaks(t)
	_, h := sandbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := h.Watch(ctx)
	must(t, err)
	v := Veth{Name: "cnmv1", Alias: mark("e"), Peer: VethPeer{Name: "p"}}
	must(t, h.EnsureVeth(t.Context(), v))
	must(t, h.Configure(t.Context(), Interface{Name: "cnmv1", Addrs: prefixes("10.0.0.1/24")}))
	must(t, h.DeleteLink(t.Context(), v.Name, v.Alias))
	var named, addressed, gone bool
	var last error
	for c, err := range changes {
		named = named || c.Name == "cnmv1" && c.Alias == v.Alias && !c.Gone
		addressed = addressed || c == Change{} && err == nil
		if gone = gone || c.Name == "cnmv1" && c.Gone; gone {
			cancel()
		}
		last = err
	}
	if !named || !addressed || !gone || !errors.Is(last, context.Canceled) {
		t.Errorf("named %v, address %v, gone %v, last error %v", named, addressed, gone, last)
	}
}

func TestWatchIsReleasedWhetherReadOrNot(t *testing.T) {
	lasting, end := context.WithCancel(context.Background())
	t.Cleanup(end) // after NoLeaks has looked
	testutil.NoLeaks(t)
	_, h := sandbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := h.Watch(ctx)
	must(t, err)
	cancel()
	changes, err := h.Watch(lasting)
	must(t, err)
	plain(t, h, "a", "b")
	for _, err := range changes {
		must(t, err)
		break
	}
}

func TestCommandRunsInside(t *testing.T) {
	ns, _ := sandbox(t)
	cmd := Command(t.Context(), ns.file.Name(), -1, "ls", "-1", "/proc/self/net/dev_snmp6", "--")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "lo" {
		t.Errorf("%v: %s, want lo alone", err, out)
	}
	cmd = Command(t.Context(), ns.file.Name(), -1, "sh", "-c", `printf '%s|' "$@"`, "x", "a b", "$(id)", "")
	if out, err = cmd.CombinedOutput(); err != nil || !bytes.Equal(out, []byte("a b|$(id)||")) {
		t.Errorf("arguments: %v: %q", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd = Command(ctx, ns.file.Name(), -1, "sleep", "1000")
	must(t, cmd.Start())
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("a program outlived its context")
	}
}

func TestCommandStartsInACgroup(t *testing.T) {
	const root = "/sys/fs/cgroup"
	var fs unix.Statfs_t
	dir := root
	if err := unix.Statfs(root+"/unified", &fs); err == nil {
		dir = root + "/unified"
	} else if err := unix.Statfs(root, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skip("no cgroup version 2 hierarchy is mounted here")
	}
	group := filepath.Join(dir, "cnm"+strconv.Itoa(os.Getpid())+strconv.FormatInt(time.Now().UnixNano(), 36))
	err := os.Mkdir(group, 0o755)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		t.Skipf("cgroups belong to somebody else here: %v", err)
	}
	must(t, err)
	defer func() { must(t, os.Remove(group)) }()
	file, err := os.Open(group)
	must(t, err)
	defer file.Close()
	ns, _ := sandbox(t)
	cmd := Command(t.Context(), ns.file.Name(), int(file.Fd()), "cat", "/proc/self/cgroup")
	out, err := cmd.Output()
	must(t, err)
	if !strings.Contains(string(out), strings.TrimPrefix(group, dir)) {
		t.Errorf("the program ran in %s, want %s", out, group)
	}
}
