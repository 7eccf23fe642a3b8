package ovsvxlan

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Validate reports whether the ports and prefixes can be used, as ErrInvalid naming what cannot.
func (b Base) Validate() error {
	if err := validPort("tunnel", b.TunnelPort); err != nil {
		return err
	}
	if b.TunnelUDPPort == 0 {
		return fmt.Errorf("tunnel UDP port 0: %w", errdefs.ErrInvalid)
	}
	if b.GatewayPort == 0 {
		return nil
	}
	if err := validPort("gateway", b.GatewayPort); err != nil {
		return err
	}
	if b.GatewayPort == b.TunnelPort {
		return fmt.Errorf("gateway port %d: it is the tunnel port: %w", b.GatewayPort, errdefs.ErrInvalid)
	}
	for _, mac := range []MAC{b.GatewayMAC, b.GatewayHostMAC} {
		if !mac.unicast() {
			return fmt.Errorf("MAC address %s of the gateway port: not a unicast address: %w", mac, errdefs.ErrInvalid)
		}
	}
	for _, t := range []struct {
		prefix netip.Prefix
		is4    bool
	}{{b.TransitPrefix4, true}, {b.TransitPrefix6, false}} {
		if !t.prefix.IsValid() {
			continue
		}
		addr := t.prefix.Addr()
		switch {
		case t.prefix != t.prefix.Masked() || addr.Is4() != t.is4 || addr.Is4In6():
			return fmt.Errorf("transit prefix %s: host bits, or the wrong family: %w", t.prefix, errdefs.ErrInvalid)
		case t.prefix.Bits() > addr.BitLen()-2:
			return fmt.Errorf("transit prefix %s: no room for the host and a network: %w", t.prefix, errdefs.ErrInvalid)
		}
	}
	return nil
}

// Validate reports whether the network can be compiled for a bridge with this base, as ErrInvalid naming what is wrong.
func (n Network) Validate(b Base) error {
	if err := n.validate(b); err != nil {
		return fmt.Errorf("network %s: %w: %w", n.ID, err, errdefs.ErrInvalid)
	}
	return nil
}

func (n Network) validate(b Base) error {
	switch {
	case n.ID == "":
		return fmt.Errorf("no id")
	case n.VNI == 0 || n.VNI > MaxVNI:
		return fmt.Errorf("VNI %d: not in 1..%d", n.VNI, MaxVNI)
	case !n.GatewayMAC.unicast():
		return fmt.Errorf("gateway MAC address %s: not a unicast address", n.GatewayMAC)
	case len(n.Subnets) == 0:
		return fmt.Errorf("no subnet")
	}
	for i, s := range n.Subnets {
		if !s.Prefix.IsValid() || s.Prefix != s.Prefix.Masked() || s.Prefix.Addr().Is4In6() {
			return fmt.Errorf("subnet %s: not a canonical prefix", s.Prefix)
		}
		if s.Gateway.IsValid() && (!s.Prefix.Contains(s.Gateway) || s.Gateway.Zone() != "") {
			return fmt.Errorf("gateway %s: not in subnet %s", s.Gateway, s.Prefix)
		}
		for _, other := range n.Subnets[:i] {
			if s.Prefix.Overlaps(other.Prefix) {
				return fmt.Errorf("subnet %s: overlaps %s", s.Prefix, other.Prefix)
			}
		}
	}
	for _, transit := range []netip.Addr{n.Transit4, n.Transit6} {
		if err := n.validateTransit(b, transit); err != nil {
			return err
		}
	}
	return nil
}

func (n Network) validateTransit(b Base, transit netip.Addr) error {
	if !transit.IsValid() || n.Internal {
		return nil
	}
	prefix := b.transit(transit)
	switch {
	case b.GatewayPort == 0:
		return fmt.Errorf("transit address %s: the bridge has no gateway port", transit)
	case n.Zone == 0:
		return fmt.Errorf("transit address %s: no conntrack zone", transit)
	case !prefix.IsValid() || !prefix.Contains(transit):
		return fmt.Errorf("transit address %s: not in the transit prefix %s", transit, prefix)
	case transit == HostAddr(prefix):
		return fmt.Errorf("transit address %s: it is the host's own", transit)
	}
	return nil
}

// validateMember reports whether an endpoint or peer with these addresses can be in the network.
func (n Network) validateMember(network string, mac MAC, addrs []netip.Addr) error {
	if network != n.ID {
		return fmt.Errorf("its network is %s, not %s: %w", network, n.ID, errdefs.ErrInvalid)
	}
	if !mac.unicast() || mac == n.GatewayMAC {
		return fmt.Errorf("MAC address %s: not a unicast address, or the gateway's: %w", mac, errdefs.ErrInvalid)
	}
	for i, addr := range addrs {
		if n.subnet(addr) == nil {
			return fmt.Errorf("address %s: in no subnet of network %s: %w", addr, n.ID, errdefs.ErrInvalid)
		}
		if n.isGateway(addr) {
			return fmt.Errorf("address %s: it is the gateway's: %w", addr, errdefs.ErrInvalid)
		}
		if slices.Contains(addrs[:i], addr) {
			return fmt.Errorf("address %s: given twice: %w", addr, errdefs.ErrInvalid)
		}
	}
	return nil
}

// subnet returns the network's subnet that holds addr, or nil.
func (n Network) subnet(addr netip.Addr) *Subnet {
	for i := range n.Subnets {
		if n.Subnets[i].Prefix.Contains(addr) {
			return &n.Subnets[i]
		}
	}
	return nil
}

func (n Network) isGateway(addr netip.Addr) bool {
	s := n.subnet(addr)
	return s != nil && s.Gateway == addr
}

// transit returns the transit prefix of addr's family.
func (b Base) transit(addr netip.Addr) netip.Prefix {
	if addr.Is4() {
		return b.TransitPrefix4
	}
	return b.TransitPrefix6
}

// HostAddr returns the address of the host's end of the gateway veth: the first of the transit prefix.
func HostAddr(transit netip.Prefix) netip.Addr { return transit.Masked().Addr().Next() }

func validPort(what string, port uint32) error {
	if port == 0 || port > MaxPort {
		return fmt.Errorf("%s port %d: not in 1..%d: %w", what, port, MaxPort, errdefs.ErrInvalid)
	}
	return nil
}

// validVTEP reports whether addr can be another node's tunnel address.
func validVTEP(addr netip.Addr) error {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	unusable := addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || addr == broadcast
	if addr.Zone() != "" { // a text of any kind
		return fmt.Errorf("tunnel address %q: has a zone: %w", addr, errdefs.ErrInvalid)
	}
	if !addr.IsValid() || addr.Is4In6() || unusable {
		return fmt.Errorf("tunnel address %s: not a unicast address: %w", addr, errdefs.ErrInvalid)
	}
	return nil
}
