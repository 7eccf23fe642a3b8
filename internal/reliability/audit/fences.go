package audit

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/link"
)

// The marks of the routing rules that keep a host's networks apart where the firewall does not, and of the table they lead to.
const (
	fenceTable   = 0x636e6d
	passPriority = 5207
	holdPriority = 5208
)

// auditFences compares routing rules and blackholes of ours with what the networks need.
func (a *audit) auditFences(h *netlink.Handle, p *plan) error {
	have, err := readFences(h)
	if err != nil {
		return err
	}
	want := a.planFences(p)
	for _, f := range want {
		if !slices.Contains(have, f) {
			a.add(Missing, f, "a network needs it")
		}
	}
	for i, f := range have {
		switch {
		case !slices.Contains(want, f):
			a.add(Stray, f, "no network needs it")
		case slices.Contains(have[:i], f):
			a.add(Duplicate, f, "it is there twice")
		}
	}
	return nil
}

// planFences are for each bridge network one rule that lets it reach each of its subnets, one blackhole for each against all
// others, and one rule for each family that leads to these; overlay networks have the last by their gateway.
func (a *audit) planFences(p *plan) (want []string) {
	add := func(f string) {
		if !slices.Contains(want, f) {
			want = append(want, f)
		}
	}
	for _, n := range a.active(bridgeDriver) {
		for _, s := range n.Subnets {
			if s.Gateway.IsValid() {
				add(fenceRule(passPriority, bridgeName(n), s.Prefix.String(), unix.RT_TABLE_MAIN))
				add("blackhole " + s.Prefix.String())
				add(fenceRule(holdPriority, bridgeName(n), everything(s.Prefix.Addr().Is4()), fenceTable))
			}
		}
	}
	if p.overlay != nil {
		add(fenceRule(holdPriority, gatewayHost, everything(true), fenceTable))
		add(fenceRule(holdPriority, gatewayHost, everything(false), fenceTable))
	}
	return want
}

func readFences(h *netlink.Handle) (have []string, err error) {
	rules, err := link.Complete(func() ([]netlink.Rule, error) { return h.RuleList(netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list routing rules: %w: %w", err, errdefs.ErrUnavailable)
	}
	for _, r := range rules {
		if r.Protocol == routeProtocol || r.Priority == passPriority || r.Priority == holdPriority || r.Table == fenceTable {
			have = append(have, fenceRule(r.Priority, r.IifName, destination(r.Dst, r.Family), r.Table))
		}
	}
	routes, err := link.Complete(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: fenceTable}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes of table %d: %w: %w", fenceTable, err, errdefs.ErrUnavailable)
	}
	for _, r := range routes {
		kind := "blackhole"
		if r.Type != unix.RTN_BLACKHOLE {
			kind = fmt.Sprint("route of type ", r.Type)
		}
		have = append(have, kind+" "+destination(r.Dst, r.Family))
	}
	return have, nil
}

func fenceRule(priority int, dev, dst string, table int) string {
	return fmt.Sprintf("routing rule %d from %s to %s table %d", priority, dev, dst, table)
}

func destination(n *net.IPNet, family int) string {
	if n == nil {
		return everything(family == unix.AF_INET)
	}
	return prefixOf(n).String()
}

func everything(ipv4 bool) string {
	if ipv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0).String()
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0).String()
}
