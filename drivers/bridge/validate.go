package bridge

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// validate is pure: it reads only n.
func validate(n drivers.Network) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("network %s: %s: %w", n.ID, fmt.Sprintf(format, args...), drivers.ErrInvalid)
	}
	if n.VNI != 0 {
		return invalid("VNI %d: a bridge has none", n.VNI)
	}
	least := minMTU
	gateway := false
	for i, s := range n.Subnets {
		if err := validateSubnet(s); err != nil {
			return fmt.Errorf("network %s: %w", n.ID, err)
		}
		if at := slices.IndexFunc(n.Subnets[:i], func(o drivers.Subnet) bool { return o.Prefix.Overlaps(s.Prefix) }); at >= 0 {
			return invalid("subnets %s and %s overlap", n.Subnets[at].Prefix, s.Prefix)
		}
		gateway = gateway || s.Gateway.IsValid()
		if s.Prefix.Addr().Is6() {
			least = minMTU6
		}
	}
	if len(n.Subnets) == 0 {
		return invalid("no subnet")
	}
	if !gateway && !n.Internal {
		return invalid("no subnet has a gateway, so nothing could leave it: give it one, or make it internal")
	}
	if n.MTU != 0 && (n.MTU < least || n.MTU > maxMTU) {
		return invalid("MTU %d is outside %d..%d", n.MTU, least, maxMTU)
	}
	rules, err := rulesOf(n)
	if err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	return rules.Validate()
}

func validateSubnet(s drivers.Subnet) error {
	invalid := func(why string) error {
		return fmt.Errorf("subnet %s: %s: %w", s.Prefix, why, drivers.ErrInvalid)
	}
	switch {
	case !s.Prefix.IsValid() || s.Prefix.Addr().Is4In6():
		return invalid("not an address range")
	case s.Prefix != s.Prefix.Masked():
		return invalid("host bits are set")
	case s.Gateway != netip.Addr{} && !s.Prefix.Contains(s.Gateway):
		return invalid("gateway " + s.Gateway.String() + " is outside")
	}
	return nil
}

// validateEndpoint is pure.
func (nw network) validateEndpoint(ep drivers.Endpoint) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("endpoint %s: %s: %w", ep.ID, fmt.Sprintf(format, args...), drivers.ErrInvalid)
	}
	if ep.ID == "" || ep.MAC.IsZero() {
		return invalid("no ID or no MAC address")
	}
	if err := link.CheckName(ep.Interface); err != nil {
		return fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	for _, p := range ep.Addrs {
		within := func(s drivers.Subnet) bool { return s.Prefix.Contains(p.Addr()) && s.Prefix.Bits() == p.Bits() }
		if !slices.ContainsFunc(nw.subnets, within) {
			return invalid("address %s is in no subnet of network %s", p, nw.id)
		}
		if slices.ContainsFunc(nw.subnets, func(s drivers.Subnet) bool { return s.Gateway == p.Addr() }) {
			return invalid("address %s is the gateway's", p)
		}
	}
	return nil
}
