package iptables

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Prefix begins the name of every interface this package makes rules for. Rules that hold for all networks at once match
// it as a wildcard, so the machine must have no other interfaces of such names.
const Prefix = "cnm"

// maxPorts bounds Spec.TunnelPorts: one or two are usual.
const maxPorts = 64

// Spec is what one owner wants of the host's firewall: plain data, in any order. The zero value of everything but Owner
// means no rules.
type Spec struct {
	// Owner names who wants it, usually a driver: 1 to 32 of [a-z0-9-]. Owners know nothing of each other: what one
	// syncs never removes another's.
	Owner    string
	Networks []Network
	// TunnelPorts are the UDP ports on which this node's tunnels receive. No process of the host and no sandbox may
	// send to them; only the kernel and Open vSwitch do.
	TunnelPorts []uint16
}

// Network is the part of a network that the firewall needs.
type Network struct {
	ID string // 1 to 64 of [a-z0-9-], unique per owner
	// Interface is the host's interface through which the network's traffic comes and goes: "cnm" and up to 12 more
	// of [a-z0-9-]. No two networks share one.
	Interface string
	// Transit says that Interface is not the network's own segment but the way out of networks that are switched
	// elsewhere, as an overlay's gateway is. What comes from it is then never sent back into it.
	Transit bool
	// Subnets are what MASQUERADE applies to. Canonical: no host bits.
	Subnets []netip.Prefix
	// Gateways are the host's own addresses on Interface, which other networks' sandboxes must not reach.
	Gateways []netip.Addr
	Internal bool // nothing is forwarded into or out of the network; excludes Transit and Masquerade
	// Masquerade gives traffic that leaves the network the address of the interface it leaves by.
	Masquerade bool
}

var (
	ownerPattern     = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	idPattern        = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	interfacePattern = regexp.MustCompile(`^` + Prefix + `[a-z0-9-]{1,12}$`) // IFNAMSIZ leaves 15 in all
)

// Validate reports the first thing in s that cannot be made into rules, as ErrInvalid or, where two networks claim the
// same thing, ErrConflict.
func (s Spec) Validate() error {
	if err := validateOwner(s.Owner); err != nil {
		return err
	}
	if err := validatePorts(s.TunnelPorts); err != nil {
		return err
	}
	ids := make(map[string]bool, len(s.Networks))
	for _, n := range s.Networks {
		if err := n.Validate(); err != nil {
			return err
		}
		if ids[n.ID] {
			return fmt.Errorf("firewall network %s: given twice: %w", n.ID, errdefs.ErrInvalid)
		}
		ids[n.ID] = true
	}
	return make(claims).addAll(s)
}

// Validate reports the first thing in n that cannot be made into rules, as ErrInvalid.
func (n Network) Validate() error {
	if !idPattern.MatchString(n.ID) {
		return fmt.Errorf("firewall network %q: want 1 to 64 of [a-z0-9-]: %w", n.ID, errdefs.ErrInvalid)
	}
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("firewall network %s: %s: %w", n.ID, fmt.Sprintf(format, args...), errdefs.ErrInvalid)
	}
	if !interfacePattern.MatchString(n.Interface) {
		return invalid("interface %q: want %s and 1 to 12 of [a-z0-9-]", n.Interface, Prefix)
	}
	if n.Internal && n.Masquerade {
		return invalid("internal, so nothing leaves it to masquerade")
	}
	if n.Internal && n.Transit {
		return invalid("internal, so it has no way out to be the transit of")
	}
	for i, p := range n.Subnets {
		switch {
		case !p.IsValid() || p != p.Masked() || p.Addr().Is4In6():
			return invalid("subnet %s: want a prefix without host bits", p)
		case p.Bits() == 0 || p.Addr().IsMulticast() || p.Addr().IsLoopback():
			return invalid("subnet %s: not a range of unicast addresses", p)
		case slices.Contains(n.Subnets[:i], p):
			return invalid("subnet %s: given twice", p)
		}
	}
	for _, g := range n.Gateways {
		// Several interfaces may have the same IPv6 link-local address. An overlay's way out may well be a part of
		// 169.254.0.0/16, which the kernel forwards like any other.
		if !g.IsGlobalUnicast() && !(g.Is4() && g.IsLinkLocalUnicast()) || g.Is4In6() || g.Zone() != "" {
			return invalid("gateway %s: want a unicast address that is one interface's", g)
		}
	}
	return nil
}

func validateOwner(owner string) error {
	if !ownerPattern.MatchString(owner) {
		return fmt.Errorf("firewall owner %q: want 1 to 32 of [a-z0-9-]: %w", owner, errdefs.ErrInvalid)
	}
	return nil
}

func validatePorts(ports []uint16) error {
	if len(ports) > maxPorts {
		return fmt.Errorf("%d tunnel ports: at most %d: %w", len(ports), maxPorts, errdefs.ErrInvalid)
	}
	for i, p := range ports {
		if p == 0 || slices.Contains(ports[:i], p) {
			return fmt.Errorf("tunnel port %d: want each once, from 1 to 65535: %w", p, errdefs.ErrInvalid)
		}
	}
	return nil
}

// clone copies n so that no slice is shared.
func (n Network) clone() Network {
	n.Subnets, n.Gateways = slices.Clone(n.Subnets), slices.Clone(n.Gateways)
	return n
}
