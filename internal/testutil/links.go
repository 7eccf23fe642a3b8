package testutil

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkTimeout is how long a link may take to come up on a busy machine.
const linkTimeout = 10 * time.Second

// Connect makes a veth pair with one end in each namespace, both up.
func Connect(t TB, a *NS, aName string, b *NS, bName string) {
	t.Helper()
	connect(t, a, aName, b, bName, 1500)
}

func connect(t TB, a *NS, aName string, b *NS, bName string, mtu int) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = aName, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: bName, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(b.file.Fd())}
	if err := a.handle.LinkAdd(veth); err != nil {
		t.Fatalf("make veth %s-%s: %v", aName, bName, err)
	}
	a.LinkUp(t, aName)
	b.LinkUp(t, bName)
	// The kernel finishes this later, and drops what is sent before.
	a.waitUp(t, aName)
	b.waitUp(t, bName)
}

func (ns *NS) waitUp(t TB, link string) {
	t.Helper()
	Eventually(t, linkTimeout, func() error {
		l, err := ns.handle.LinkByName(link)
		if err != nil {
			return err
		}
		if state := l.Attrs().OperState; state != netlink.OperUp {
			return fmt.Errorf("link %s is %v", link, state)
		}
		return nil
	})
}

// AddAddr gives a link that is up more addresses, and returns when they can be used: they are not checked for duplicates.
func (ns *NS) AddAddr(t TB, link string, prefixes ...netip.Prefix) {
	t.Helper()
	l := ns.link(t, link)
	for _, p := range prefixes {
		addr := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := ns.handle.AddrReplace(l, addr); err != nil {
			t.Fatalf("add %s to %s: %v", p, link, err)
		}
		if p.Addr().Is6() {
			ns.waitSolicited(t, link, p.Addr())
		}
	}
}

// waitSolicited waits until the link listens for those who ask for addr's MAC. The kernel starts that some time after the
// address is there; who asks before asks again only a second later.
func (ns *NS) waitSolicited(t TB, link string, addr netip.Addr) {
	t.Helper()
	b := addr.As16()
	group := fmt.Sprintf("ff0200000000000000000001ff%02x%02x%02x", b[13], b[14], b[15])
	Eventually(t, linkTimeout, func() error {
		return ns.Do(func() error {
			joined, err := os.ReadFile("/proc/thread-self/net/igmp6")
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(joined)) {
				if fields := strings.Fields(line); len(fields) > 2 && fields[1] == link && fields[2] == group {
					return nil
				}
			}
			return fmt.Errorf("%s on %s does not answer neighbour solicitations", addr, link)
		})
	})
}

// WaitAddresses returns when the kernel has looked for duplicates of all addresses, those too that it gives links by itself.
func (ns *NS) WaitAddresses(t TB) {
	t.Helper()
	Eventually(t, linkTimeout, func() error {
		addrs, err := ns.handle.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range addrs {
			if err == nil && a.Flags&unix.IFA_F_TENTATIVE != 0 {
				err = fmt.Errorf("%s in %s is tentative", a.IPNet, ns.Name)
			}
		}
		return err
	})
}

// AddRoute sends dst, or everything of via's family when dst is the zero Prefix, by way of via.
func (ns *NS) AddRoute(t TB, dst netip.Prefix, via netip.Addr) {
	t.Helper()
	route := &netlink.Route{Gw: via.AsSlice()}
	if dst.IsValid() {
		route.Dst = ipNet(dst)
	}
	if err := ns.handle.RouteReplace(route); err != nil {
		t.Fatalf("route %v via %s: %v", dst, via, err)
	}
}

// LinkUp sets a link up.
func (ns *NS) LinkUp(t TB, link string) {
	t.Helper()
	if err := ns.handle.LinkSetUp(ns.link(t, link)); err != nil {
		t.Fatalf("set %s up: %v", link, err)
	}
}

// LinkDown sets a link down, which its peer sees as a cable pulled.
func (ns *NS) LinkDown(t TB, link string) {
	t.Helper()
	if err := ns.handle.LinkSetDown(ns.link(t, link)); err != nil {
		t.Fatalf("set %s down: %v", link, err)
	}
}

// TxOff makes the kernel finish checksums and segmentation before a frame leaves the link. Whatever reads frames raw, as
// OVS's userspace datapath does on a veth, otherwise sees wrong checksums: ping works and TCP hangs.
func (ns *NS) TxOff(t TB, link string) {
	t.Helper()
	if err := ns.Do(func() error { return ethtoolSet(link, unix.ETHTOOL_STXCSUM, 0) }); err != nil {
		t.Fatalf("tx checksum off on %s: %v", link, err)
	}
}

func (ns *NS) link(t TB, name string) netlink.Link {
	t.Helper()
	l, err := ns.handle.LinkByName(name)
	if err != nil {
		t.Fatalf("find link %s in namespace %s: %v", name, ns.Name, err)
	}
	return l
}

func ethtoolSet(link string, command, value uint32) error {
	if len(link) >= unix.IFNAMSIZ {
		return fmt.Errorf("link name %q is too long", link)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	arg := struct{ command, value uint32 }{command, value}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is a union of up to 24 bytes
	}{data: unsafe.Pointer(&arg)}
	copy(req.name[:], link)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
