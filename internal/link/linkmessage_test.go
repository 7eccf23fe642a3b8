package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/testutil"
)

// TestMessagesSayWhatTheLibraryReads compares what is read of links and addresses here with what the library reads.
func TestMessagesSayWhatTheLibraryReads(t *testing.T) {
	ctx := t.Context()
	h, _, v := pair(t)
	must(t, h.EnsureVeth(ctx, v))
	must(t, h.Configure(ctx, Interface{Name: "br", Up: true, Addrs: prefixes("10.1.0.1/16", "10.1.0.2/32", "fd00::1/64")}))
	must(t, h.Configure(ctx, Interface{Name: v.Name, Addrs: prefixes("10.2.0.1/24")}))
	must(t, h.use(ctx, func(c *conn) error { // an address of a point-to-point link, of which only the other end has a prefix
		l, err := c.LinkByName(v.Name)
		must(t, err)
		own, peer := netlink.NewIPNet(net.IPv4(10, 3, 0, 1)), net.IPNet{IP: net.IPv4(10, 4, 0, 0), Mask: net.CIDRMask(24, 32)}
		return c.AddrAdd(l, &netlink.Addr{IPNet: own, Peer: &peer})
	}))
	// The state of an operation may change between one question and the next.
	testutil.Eventually(t, 5*time.Second, func() error { return h.use(ctx, (*conn).readsAsTheLibrary) })
}

func (c *conn) readsAsTheLibrary() error {
	mine, err := c.links()
	if err != nil {
		return err
	}
	theirs, err := c.LinkList()
	if err != nil {
		return err
	}
	if len(mine) < 3 || len(mine) != len(theirs) {
		return fmt.Errorf("%d links, the library finds %d", len(mine), len(theirs))
	}
	for i, listed := range mine {
		a := theirs[i].Attrs()
		asked, err := c.link(a.Name)
		if err != nil {
			return err
		}
		for _, l := range []Link{listed, asked} {
			if l.Name != a.Name || l.Index != a.Index || l.Kind != theirs[i].Type() || l.Alias != a.Alias || l.MTU != a.MTU ||
				!bytes.Equal(l.MAC, a.HardwareAddr) || l.Up != (a.RawFlags&unix.IFF_UP != 0) || l.Master != a.MasterIndex ||
				l.group != a.Group || l.peer != a.ParentIndex || l.peerNS != a.NetNsID || l.oper != a.OperState {
				return fmt.Errorf("%+v, the library reads %+v", l, a)
			}
		}
		have, err := c.addresses(a.Index)
		if err != nil {
			return err
		}
		list, err := c.AddrList(theirs[i], netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		var want []netip.Prefix
		for _, a := range list {
			if p, ok := prefixOf(a); ok && !kernels(p.Addr()) {
				want = append(want, p)
			}
		}
		slices.SortFunc(want, comparePrefix)
		if !slices.Equal(have, want) {
			return fmt.Errorf("%s has %v, the library reads %v", a.Name, have, want)
		}
	}
	return nil
}

// TestQuestionsEnd asks what the kernel refuses to answer, after which the next question on the same connection must get its own
// answer, and what it answers at too great length, after which nobody may use the connection.
func TestQuestionsEnd(t *testing.T) {
	_, h := sandbox(t)
	must(t, h.use(t.Context(), func(c *conn) error {
		all := func() *nl.NetlinkRequest {
			request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
			request.AddData(header(0))
			return request
		}
		broken := errors.New("broken")
		if err := c.changes.dump(all(), func([]byte) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("the reader's error became %v", err)
		}
		unknown := nl.NewNetlinkRequest(1022, 0)
		unknown.AddData(header(0))
		if err := c.changes.dump(unknown, func([]byte) error { return nil }); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("a question that the kernel does not know is answered by %v", err)
		}
		if l, err := c.link("lo"); err != nil || l.Name != "lo" || l.Kind != "device" || l.MAC != nil {
			t.Errorf("lo is %+v, %v", l, err)
		}
		c.changes.buffer = c.changes.buffer[:200]
		if _, err := c.link("lo"); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("an answer that does not fit is %v", err)
		}
		return nil
	}))
	if len(h.idle) > 0 {
		t.Error("a connection of which an answer was lost is to be used again")
	}
}

// TestPortNoticeIsNoDamage reads what a bridge says of a port that has VLAN 1, as most kernels give it: the attribute has the
// number of the settings of IPv4 in other messages.
func TestPortNoticeIsNoDamage(t *testing.T) {
	raw := make([]byte, unix.SizeofIfInfomsg)
	raw[0] = unix.AF_BRIDGE
	binary.NativeEndian.PutUint32(raw[8:], unix.IFF_UP)
	spec := attr(unix.IFLA_AF_SPEC, nil)
	spec.AddRtAttr(nl.IFLA_BRIDGE_VLAN_INFO, []byte{6, 0, 1, 0})
	for _, a := range []*nl.RtAttr{attrText(unix.IFLA_IFNAME, "v0"), attr32(unix.IFLA_MASTER, 7), spec} {
		raw = append(raw, a.Serialize()...)
	}
	notice := newChangeNotice(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK}, Data: raw})
	if want := (Change{Name: "v0", Up: true, Port: true}); notice != want {
		t.Errorf("read %+v, want %+v", notice, want)
	}
}

func TestStatisticsInTheirOrder(t *testing.T) {
	var counters []byte
	for i := range uint64(24) {
		counters = binary.NativeEndian.AppendUint64(counters, i+1)
	}
	got, err := parseStatistics(append(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_STATS64, counters).Serialize()...))
	want := Statistics{
		RxPackets: 1, TxPackets: 2, RxBytes: 3, TxBytes: 4, RxErrors: 5, TxErrors: 6, RxDropped: 7, TxDropped: 8,
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

// FuzzLinkMessage demands of any bytes that reading them ends, and of a message of the kernel that it can be read.
func FuzzLinkMessage(f *testing.F) {
	veth := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(veth[4:], 7)
	veth = append(veth, attrText(unix.IFLA_IFNAME, "v0").Serialize()...)
	info := attr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.ZeroTerminated("veth"))
	veth = append(veth, info.Serialize()...)
	f.Add(veth)
	f.Add(veth[:len(veth)-3])
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := parseLink(raw)
		if err == nil && strings.HasSuffix(l.Name, "\x00") {
			t.Errorf("name %q", l.Name)
		}
		if bytes.Equal(raw, veth) && (err != nil || l.Name != "v0" || l.Index != 7 || l.Kind != "veth") {
			t.Errorf("%+v, %v", l, err)
		}
		if s, err := parseStatistics(raw); err == nil && len(raw) < unix.SizeofIfInfomsg+8*8 {
			t.Errorf("%+v of %d bytes", s, len(raw))
		}
		if _, p, err := parseAddress(raw); err == nil && !p.Addr().IsValid() {
			t.Errorf("address %v", p)
		}
	})
}
