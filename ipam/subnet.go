package ipam

import (
	"fmt"
	"net/netip"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// special are the ranges no network can use, because hosts treat their addresses unlike others.
var special = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"}, // RFC 1122 3.2.1.3: "this network"
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "limited broadcast"}, // the rest of 240/4 works on Linux and is in use
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// ParseSubnet reads a subnet such as 10.1.0.0/24 or fd00:1::/64. What ValidateSubnet refuses is ErrInvalid here too.
func ParseSubnet(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("subnet %q: %w: %w", s, err, errdefs.ErrInvalid)
	}
	if err := ValidateSubnet(p); err != nil {
		return netip.Prefix{}, err
	}
	return p, nil
}

// ValidateSubnet reports whether p can be the subnet of a network. ErrInvalid: p is not a prefix, has host bits set, is
// a whole address family, or overlaps a range of multicast, loopback, unspecified, link-local or IPv4-mapped addresses.
func ValidateSubnet(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return fmt.Errorf("subnet %s: not an address with a prefix length: %w", p, errdefs.ErrInvalid)
	case p.Addr().Is4In6() && p.Bits() >= 96:
		meant := netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
		return fmt.Errorf("subnet %s: IPv4-mapped IPv6 prefix, write %s: %w", p, meant, errdefs.ErrInvalid)
	case p.Bits() == 0:
		return fmt.Errorf("subnet %s: that is every address there is: %w", p, errdefs.ErrInvalid)
	case p != p.Masked():
		return fmt.Errorf("subnet %s: host bits are set in %s, the subnet with that address is %s: %w",
			p, p.Addr(), p.Masked(), errdefs.ErrInvalid)
	}
	for _, s := range special {
		if p.Overlaps(s.prefix) {
			return fmt.Errorf("subnet %s: overlaps the %s range %s: %w", p, s.name, s.prefix, errdefs.ErrInvalid)
		}
	}
	return nil
}

// Gateway returns the gateway of a subnet: want if it is set and usable, else the first usable address. A subnet of one
// address (/32, /128) has no gateway: it gets the zero Addr, and wanting one is ErrInvalid.
func Gateway(subnet netip.Prefix, want netip.Addr) (netip.Addr, error) {
	if err := ValidateSubnet(subnet); err != nil {
		return netip.Addr{}, err
	}
	single := hostBits(subnet) == 0
	switch {
	case want.IsValid() && single:
		return netip.Addr{}, fmt.Errorf("gateway %s: subnet %s has one address, which is left for an endpoint: %w",
			want, subnet, errdefs.ErrInvalid)
	case want.IsValid():
		if err := checkUsable("gateway", subnet, want); err != nil {
			return netip.Addr{}, err
		}
		return want, nil
	case single:
		return netip.Addr{}, nil
	case reservedName(subnet, subnet.Addr()) != "":
		return subnet.Addr().Next(), nil
	}
	return subnet.Addr(), nil
}

// checkUsable reports ErrInvalid unless addr is an address of subnet that an interface can have.
func checkUsable(what string, subnet netip.Prefix, addr netip.Addr) error {
	switch name := reservedName(subnet, addr); {
	case !addr.IsValid():
		return fmt.Errorf("%s of subnet %s: not an address: %w", what, subnet, errdefs.ErrInvalid)
	case addr.Is4In6():
		return fmt.Errorf("%s %s: IPv4-mapped IPv6 address, write %s: %w", what, addr, addr.Unmap(), errdefs.ErrInvalid)
	case addr.Zone() != "": // a text of any kind
		return fmt.Errorf("%s %q: has a zone: %w", what, addr, errdefs.ErrInvalid)
	case !subnet.Contains(addr):
		return fmt.Errorf("%s %s: outside subnet %s: %w", what, addr, subnet, errdefs.ErrInvalid)
	case name != "":
		return fmt.Errorf("%s %s: the %s of %s: %w", what, addr, name, subnet, errdefs.ErrInvalid)
	}
	return nil
}

// reservedName says why no interface can have addr in subnet; empty when one can.
//
// IPv4 keeps back the network and broadcast addresses, except in a /31 (RFC 3021) and a /32. IPv6 keeps back the
// subnet-router anycast address (RFC 4291 2.6.1), which every router of the subnet answers to, except in a /127 (RFC
// 6164 has it disabled there) and a /128; libnetwork, netavark and CNI's host-local all start at ::1 too. The last IPv6
// address is an ordinary one for them and here, and so are the reserved anycast identifiers of RFC 2526 at the end of a
// /64, which none of them honours and allocation from the low end never reaches.
func reservedName(subnet netip.Prefix, addr netip.Addr) string {
	if hostBits(subnet) < 2 {
		return ""
	}
	v4 := subnet.Addr().Is4()
	switch {
	case v4 && addr == subnet.Addr():
		return "network address"
	case v4 && addr == lastAddr(subnet):
		return "broadcast address"
	case !v4 && addr == subnet.Addr():
		return "subnet-router anycast address"
	}
	return ""
}
