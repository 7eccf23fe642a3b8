package link

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/testutil"
)

// announcement is a gratuitous ARP request, or a neighbour advertisement to all about an address that somebody gave.
func announcement(f testutil.Frame) bool {
	return f.EtherType == testutil.EtherTypeARP && f.IPSrc == f.IPDst ||
		f.Protocol == testutil.ProtocolICMPv6 && f.ICMPType == 136 && f.IPDst.IsMulticast() && !f.IPSrc.IsLinkLocalUnicast()
}

func TestAnnounceOnceTellsNewsOnly(t *testing.T) {
	for _, family := range []struct{ name, prefix, other string }{
		{"IPv4", "10.0.0.3/24", "10.0.0.9/24"},
		{"IPv6", "fd00::3/64", "fd00::9/64"},
	} {
		t.Run(family.name, func(t *testing.T) {
			ctx := t.Context()
			b, a := joined(t) // the end that has an owner mark is not the one in a sandbox
			heard := testutil.StartCapture(t, testutil.OpenNS(t, b.ns.file.Name()), "eth0", announcement)
			want := 0
			configured := func(addrs ...string) {
				t.Helper()
				must(t, a.Configure(ctx, Interface{Name: "eth0", Up: true, Addrs: prefixes(addrs...)}))
				must(t, a.WaitUp(ctx, "eth0"))
				list := make([]netip.Addr, len(addrs))
				for i, p := range prefixes(addrs...) {
					list[i] = p.Addr()
				}
				must(t, a.AnnounceOnce(ctx, "eth0", list))
			}
			// What is too much is told before what comes after it: frames of one pair keep their order.
			hear := func(what string, more int) {
				t.Helper()
				want += more
				testutil.Eventually(t, 3*time.Second, func() error {
					if n := heard.Count(); n != want {
						return fmt.Errorf("%s: %d announcements in all, want %d", what, n, want)
					}
					return nil
				})
			}
			configured(family.prefix)
			hear("first", 1)
			configured(family.prefix)
			configured(family.prefix)
			configured(family.prefix, family.other)
			hear("one address more, after nothing new twice", 2)

			// Taken away by somebody, who may have used it meanwhile.
			must(t, a.use(ctx, func(c *conn) error {
				return c.changes.apply(deleteAddress(mustLink(t, a, "eth0"), prefixes(family.other)[0]))
			}))
			configured(family.prefix, family.other)
			hear("an address that was gone", 2)

			l := mustLink(t, a, "eth0")
			must(t, a.use(ctx, func(c *conn) error {
				return c.changes.apply(newChange("set MAC of", "eth0", unix.RTM_SETLINK, 0, header(l.Index), attr(unix.IFLA_ADDRESS, mac(7))))
			}))
			configured(family.prefix, family.other)
			hear("another MAC address", 2)

			setAlias(t, a, "somebody else's")
			configured(family.prefix, family.other)
			if alias := mustLink(t, a, "eth0").Alias; alias != "somebody else's" {
				t.Errorf("somebody else's alias became %q", alias)
			}
			hear("without the mark", 2)
		})
	}
}

func setAlias(t *testing.T, h *Handle, alias string) {
	t.Helper()
	must(t, h.use(t.Context(), func(c *conn) error {
		l, err := c.link("eth0")
		return errors.Join(err, c.changes.apply(newChange("set alias of", "eth0", unix.RTM_SETLINK, 0, header(l.Index),
			attr(unix.IFLA_IFALIAS, []byte(alias)))))
	}))
}
