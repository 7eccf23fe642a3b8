package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestMessagesSayWhatTheLibraryReads compares what is read of links and addresses here with what the library reads.
func TestMessagesSayWhatTheLibraryReads(t *testing.T) {
	ctx := t.Context()
	h, _, v := pair(t)
	must(t, h.EnsureVeth(ctx, v))
	must(t, h.Configure(ctx, Interface{Name: "br", Up: true, Addrs: prefixes("10.1.0.1/16", "10.1.0.2/32", "fd00::1/64")}))
	must(t, h.Configure(ctx, Interface{Name: v.Name, Addrs: prefixes("10.2.0.1/24")}))
	must(t, h.use(ctx, func(c *conn) error {
		mine, err := c.links()
		must(t, err)
		theirs, err := c.LinkList()
		must(t, err)
		if len(mine) < 3 || len(mine) != len(theirs) {
			t.Fatalf("%d links, the library finds %d", len(mine), len(theirs))
		}
		for i, l := range mine {
			a := theirs[i].Attrs()
			counted, err := c.statistics(a.Name)
			must(t, err)
			if a.Statistics.TxPackets == 0 != (counted.TxPackets == 0) || a.Statistics.RxBytes == 0 != (counted.RxBytes == 0) {
				t.Errorf("%s counted %+v, the library reads %+v", a.Name, counted, a.Statistics)
			}
			one, err := c.link(a.Name)
			must(t, err)
			for _, l := range []Link{l, one} {
				if l.Name != a.Name || l.Index != a.Index || l.Kind != theirs[i].Type() || l.Alias != a.Alias || l.MTU != a.MTU ||
					!bytes.Equal(l.MAC, a.HardwareAddr) || l.Up != (a.RawFlags&unix.IFF_UP != 0) || l.Master != a.MasterIndex ||
					l.group != a.Group || l.peer != a.ParentIndex || l.peerNS != a.NetNsID || l.oper != a.OperState {
					t.Errorf("%+v, the library reads %+v", l, a)
				}
			}
			have, err := c.addresses(l.Index)
			must(t, err)
			list, err := c.AddrList(theirs[i], netlink.FAMILY_ALL)
			must(t, err)
			var want []netip.Prefix
			for _, a := range list {
				if p, ok := prefixOf(a); ok && !kernels(p.Addr()) {
					want = append(want, p)
				}
			}
			slices.SortFunc(want, comparePrefix)
			if !slices.Equal(have, want) {
				t.Errorf("%s has %v, the library reads %v", l.Name, have, want)
			}
		}
		return nil
	}))
}

// TestQuestionsEnd asks what the kernel refuses to answer, and what it answers at too great length; the next question on the
// same connection must get its own answer.
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
		whole := c.changes.buffer
		c.changes.buffer = whole[:200]
		if _, err := c.link("lo"); !errors.Is(err, unix.EMSGSIZE) {
			t.Errorf("an answer that does not fit is %v", err)
		}
		c.changes.buffer = whole
		if l, err := c.link("lo"); err != nil || l.Name != "lo" || l.Kind != "device" || l.MAC != nil {
			t.Errorf("lo is %+v, %v", l, err)
		}
		return nil
	}))
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
