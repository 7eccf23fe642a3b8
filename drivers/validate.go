package drivers

import (
	"fmt"
	"net/netip"
	"slices"
)

const (
	minMTU  = 68   // RFC 791
	minMTU6 = 1280 // RFC 8200, section 5
	maxMTU  = 65535

	maxVNI = 1<<24 - 1 // RFC 7348, section 5
)

// Validate refuses, as ErrInvalid, a network that no driver of this Info could build: a subnet with host bits, inside
// another, or where there is no addressing; a gateway outside its subnet; an MTU that a family in use cannot have; a VNI
// that is missing or out of place. A driver's own Validate begins with it.
func (i Info) Validate(n Network) error {
	if err := i.validate(n); err != nil {
		return fmt.Errorf("network %s: %w: %w", n.ID, err, ErrInvalid)
	}
	return nil
}

func (i Info) validate(n Network) error {
	switch {
	case !i.VNI && n.VNI != 0:
		return fmt.Errorf("VNI %d: driver %s has none", n.VNI, i.Name)
	case i.VNI && (n.VNI == 0 || n.VNI > maxVNI):
		return fmt.Errorf("VNI %d: not within 1..%d", n.VNI, maxVNI)
	case !i.Addressing && len(n.Subnets) > 0:
		return fmt.Errorf("subnet %s: driver %s has no addresses to give", n.Subnets[0].Prefix, i.Name)
	}
	least := minMTU
	for at, s := range n.Subnets {
		if err := s.validate(); err != nil {
			return fmt.Errorf("subnet %s: %w", s.Prefix, err)
		}
		overlaps := func(other Subnet) bool { return other.Prefix.Overlaps(s.Prefix) }
		if other := slices.IndexFunc(n.Subnets[:at], overlaps); other >= 0 {
			return fmt.Errorf("subnet %s: overlaps %s", s.Prefix, n.Subnets[other].Prefix)
		}
		if s.Prefix.Addr().Is6() {
			least = minMTU6
		}
	}
	if n.MTU != 0 && (n.MTU < least || n.MTU > maxMTU) {
		return fmt.Errorf("MTU %d: not within %d..%d", n.MTU, least, maxMTU)
	}
	return nil
}

func (s Subnet) validate() error {
	switch {
	case !s.Prefix.IsValid() || s.Prefix.Addr().Is4In6():
		return fmt.Errorf("not an address range")
	case s.Prefix != s.Prefix.Masked():
		return fmt.Errorf("host bits are set")
	case s.Gateway != netip.Addr{} && (!s.Prefix.Contains(s.Gateway) || s.Gateway.Zone() != ""):
		return fmt.Errorf("gateway %s is outside", s.Gateway)
	}
	return nil
}

// ValidateEndpoint refuses, as ErrInvalid, an endpoint that cannot be in the network: one without an ID or MAC, with an
// address in none of the subnets or with another length than its subnet's, or with a gateway's address.
func (n Network) ValidateEndpoint(ep Endpoint) error {
	if err := n.validateEndpoint(ep); err != nil {
		return fmt.Errorf("endpoint %s: %w: %w", ep.ID, err, ErrInvalid)
	}
	return nil
}

func (n Network) validateEndpoint(ep Endpoint) error {
	switch {
	case ep.ID == "":
		return fmt.Errorf("no ID")
	case ep.Network != n.ID:
		return fmt.Errorf("its network is %s, not %s", ep.Network, n.ID)
	case ep.MAC.IsZero() || ep.MAC[0]&1 != 0:
		return fmt.Errorf("MAC address %q: not a unicast address", ep.MAC)
	}
	for _, p := range ep.Addrs {
		at := slices.IndexFunc(n.Subnets, func(s Subnet) bool { return s.Prefix.Contains(p.Addr()) && s.Prefix.Bits() == p.Bits() })
		switch {
		case at < 0:
			return fmt.Errorf("address %s: in no subnet of network %s", p, n.ID)
		case n.Subnets[at].Gateway == p.Addr():
			return fmt.Errorf("address %s: it is the gateway's", p)
		}
	}
	return nil
}
