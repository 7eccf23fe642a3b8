package link

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

// Fence is a part of what keeps packets that come in by one interface from being routed to what lies behind another. It
// stands beside the firewall, in the routing, where flushing rules does not reach it. There are three kinds:
//
//	{Dev, Dst}        what comes in by Dev may go to Dst, which is its own
//	{"", Dst}         nothing may go to Dst ...
//	{Dev, 0.0.0.0/0}  ... of what comes in by Dev; likewise ::/0
//
// In the words of ip(8): two rules of protocol 207 for Dev, the first to the main table, the second to a table of ours in
// which Dst is a blackhole. What finds nothing there goes on to the rules after it.
type Fence struct {
	Dev string
	Dst netip.Prefix
}

const (
	fenceTable = 0x636e6d // "cnm"
	// Before the rules that administrators usually add, which begin at 32765 and go down.
	passPriority = 5207
	holdPriority = 5208
)

// holds reports whether f is the third kind, which goes into force after the others and ends before them.
func (f Fence) holds() bool { return f.Dev != "" && f.Dst.Bits() == 0 }

func (f Fence) validate() error {
	switch {
	case !f.Dst.IsValid() || f.Dst != f.Dst.Masked() || f.Dst.Addr().Is4In6():
		return classed("check fence", f.String(), errdefs.ErrInvalid, "the destination is not a canonical prefix")
	case f.Dev == "" && f.Dst.Bits() == 0:
		return classed("check fence", f.String(), errdefs.ErrInvalid, "it would forbid everything")
	case f.Dev == "":
		return nil
	}
	return CheckName(f.Dev)
}

func (f Fence) String() string {
	switch {
	case f.Dev == "":
		return "fence around " + f.Dst.String()
	case f.holds():
		return "fence for " + f.Dev + " " + f.Dst.String()
	}
	return "gate in fence from " + f.Dev + " to " + f.Dst.String()
}

// FencesFor returns the fences of an interface behind which are the given subnets.
func FencesFor(dev string, subnets ...netip.Prefix) []Fence {
	var fences []Fence
	for _, dst := range subnets {
		all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if dst.Addr().Is4() {
			all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		fences = append(fences, Fence{dev, dst}, Fence{"", dst})
		if hold := (Fence{dev, all}); !slices.Contains(fences, hold) {
			fences = append(fences, hold)
		}
	}
	return fences
}

// Fences returns those that are there.
func (h *Handle) Fences(ctx context.Context) (have []Fence, err error) {
	err = h.use(ctx, func(c *conn) error {
		have, err = c.fences()
		return err
	})
	return have, err
}

// SetFences makes want those of the fences that are the caller's own. Those of others stay as they are.
func (h *Handle) SetFences(ctx context.Context, own func(Fence) bool, want []Fence) error {
	for _, f := range want {
		if err := f.validate(); err != nil {
			return err
		}
	}
	return h.use(ctx, func(c *conn) error {
		have, err := c.fences()
		if err != nil {
			return err
		}
		missing, extra := fenceDiff(have, want, own)
		for _, f := range missing {
			if err := c.setFence(f); err != nil {
				return err
			}
		}
		for _, f := range slices.Backward(extra) {
			if err := c.removeFence(f); err != nil {
				return err
			}
		}
		return nil
	})
}

// CheckFences names what SetFences would change.
func (h *Handle) CheckFences(ctx context.Context, own func(Fence) bool, want []Fence) ([]Difference, error) {
	have, err := h.Fences(ctx)
	if err != nil {
		return nil, err
	}
	var d differences
	missing, extra := fenceDiff(have, want, own)
	for _, f := range missing {
		d.add(f.String(), "present", "")
	}
	for _, f := range extra {
		d.add(f.String(), "", "present")
	}
	return d, nil
}

// fenceDiff returns both with those that hold last.
func fenceDiff(have, want []Fence, own func(Fence) bool) (missing, extra []Fence) {
	ipv6 := hasIPv6()
	for _, f := range want {
		if !slices.Contains(have, f) && !slices.Contains(missing, f) && (ipv6 || f.Dst.Addr().Is4()) {
			missing = append(missing, f)
		}
	}
	for _, f := range have {
		if own(f) && !slices.Contains(want, f) {
			extra = append(extra, f)
		}
	}
	for _, list := range [][]Fence{missing, extra} {
		slices.SortStableFunc(list, func(a, b Fence) int { return order(a) - order(b) })
	}
	return missing, extra
}

func order(f Fence) int {
	switch {
	case f.holds():
		return 2
	case f.Dev == "":
		return 1
	}
	return 0
}

func (c *conn) fences() ([]Fence, error) {
	rules, err := Complete(func() ([]netlink.Rule, error) { return c.RuleList(netlink.FAMILY_ALL) })
	if err != nil {
		return nil, opError("list", "routing rules", err)
	}
	var out []Fence
	for _, r := range rules {
		if r.Protocol != routeProtocol || r.IifName == "" || r.Invert || r.Src != nil {
			continue
		}
		pass := r.Priority == passPriority && r.Table == unix.RT_TABLE_MAIN && r.Dst != nil
		hold := r.Priority == holdPriority && r.Table == fenceTable && r.Dst == nil
		if pass || hold {
			out = append(out, Fence{r.IifName, dstOf(r.Dst, r.Family)})
		}
	}
	routes, err := Complete(func() ([]netlink.Route, error) {
		return c.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: fenceTable}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, opError("list", "fences", err)
	}
	for _, r := range routes {
		if r.Protocol == routeProtocol && r.Type == unix.RTN_BLACKHOLE {
			out = append(out, Fence{"", dstOf(r.Dst, r.Family)})
		}
	}
	return out, nil
}

// dstOf reads a destination; without one it is everything of the family.
func dstOf(n *net.IPNet, family int) netip.Prefix {
	if n == nil {
		if family == unix.AF_INET {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(n.IP) // the kernel's
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}

func (c *conn) setFence(f Fence) error {
	err := step.Do("add fence", func() error {
		if f.Dev == "" {
			return c.RouteAdd(f.route())
		}
		return c.RuleAdd(f.rule())
	})
	if errors.Is(err, unix.EEXIST) {
		return nil // another call has just made it
	}
	return opError("add", f.String(), err)
}

func (c *conn) removeFence(f Fence) error {
	err := step.Do("remove fence", func() error {
		if f.Dev == "" {
			return c.RouteDel(f.route())
		}
		return c.RuleDel(f.rule())
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return opError("remove", f.String(), err)
}

func (f Fence) ipNet() *net.IPNet {
	return &net.IPNet{IP: f.Dst.Addr().AsSlice(), Mask: net.CIDRMask(f.Dst.Bits(), f.Dst.Addr().BitLen())}
}

func (f Fence) route() *netlink.Route {
	return &netlink.Route{
		Family: familyOf(f.Dst.Addr()), Table: fenceTable, Dst: f.ipNet(), Type: unix.RTN_BLACKHOLE, Protocol: routeProtocol,
	}
}

func (f Fence) rule() *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.IifName, r.Protocol = familyOf(f.Dst.Addr()), f.Dev, routeProtocol
	r.Priority, r.Table = holdPriority, fenceTable
	if !f.holds() {
		r.Priority, r.Table, r.Dst = passPriority, unix.RT_TABLE_MAIN, f.ipNet()
	}
	return r
}
