package ipam

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Family is an address family.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// FamilyOf returns the family of a valid prefix.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

// AddressPool is a block that subnets of one size are cut from, for networks that do not bring their own.
type AddressPool struct {
	Base netip.Prefix
	Size int // prefix length of the subnets: at least Base's, and at most 31 for IPv4 and 127 for IPv6
}

func (b AddressPool) String() string { return fmt.Sprintf("%s by /%d", b.Base, b.Size) }

// subnets is how many there are in the block; math.MaxUint64 stands for 2^64 or more.
func (b AddressPool) subnets() uint64 {
	if n := b.Size - b.Base.Bits(); n < 64 {
		return 1 << n
	}
	return math.MaxUint64
}

// DefaultPools are what a controller uses that was given none.
//
// IPv4 has the ranges Docker's users know, 172.17.0.0 to 172.31.255.255 and then 192.168.0.0/16, cut into 4,096 subnets
// of 253 endpoints each. Docker cuts the first into 15 of /16 and the second into 16 of /20, and 31 networks are all a
// host can have; a network that needs more than 253 endpoints names its subnet.
//
// IPv6 has one unique local /48 (RFC 4193) with seed as its global ID, cut into 65,536 subnets of /64. The seed is
// chosen at random once for everything that shares a store: nodes that drew it separately would disagree.
func DefaultPools(seed [5]byte) []AddressPool {
	ula := netip.AddrFrom16([16]byte{0xfd, seed[0], seed[1], seed[2], seed[3], seed[4]})
	return []AddressPool{
		{netip.MustParsePrefix("172.17.0.0/16"), 24},
		{netip.MustParsePrefix("172.18.0.0/15"), 24},
		{netip.MustParsePrefix("172.20.0.0/14"), 24},
		{netip.MustParsePrefix("172.24.0.0/13"), 24},
		{netip.MustParsePrefix("192.168.0.0/16"), 24},
		{netip.PrefixFrom(ula, 48), 64},
	}
}

// ValidatePools reports ErrInvalid, naming the pool, when one is not a range networks can use (see ValidateSubnet), its
// subnets are larger than it or leave no room for an endpoint beside the gateway, or it overlaps another.
func ValidatePools(pools []AddressPool) error {
	for i, b := range pools {
		if err := ValidateSubnet(b.Base); err != nil {
			return fmt.Errorf("address pool %s: %w", b, err)
		}
		if b.Size < b.Base.Bits() {
			return fmt.Errorf("address pool %s: its subnets are larger than it: %w", b, errdefs.ErrInvalid)
		}
		if longest := b.Base.Addr().BitLen() - 1; b.Size > longest {
			return fmt.Errorf("address pool %s: subnets need room for a gateway and an endpoint, /%d at most: %w",
				b, longest, errdefs.ErrInvalid)
		}
		for _, other := range pools[:i] {
			if b.Base.Overlaps(other.Base) {
				return fmt.Errorf("address pool %s: overlaps address pool %s: %w", b, other, errdefs.ErrInvalid)
			}
		}
	}
	return nil
}
