package ipam

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// maxSpan is how many addresses of a range automatic allocation considers. It is out of reach for any set of claims
// that fits into memory, and keeps offsets and their sums within uint64 for prefixes up to /1.
const maxSpan = uint64(1) << 63

// split128 returns an address as a 128-bit number; IPv4 in its mapped form, so that differences are right.
func split128(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// offset returns addr - base, and false when that is negative or 2^64 or more. Both are of one family.
func offset(base, addr netip.Addr) (uint64, bool) {
	baseHi, baseLo := split128(base)
	addrHi, addrLo := split128(addr)
	lo, borrow := bits.Sub64(addrLo, baseLo, 0)
	hi, borrow := bits.Sub64(addrHi, baseHi, borrow)
	return lo, hi == 0 && borrow == 0
}

// addrAt returns base + off. base is the first address of a prefix and off below its span, so nothing is carried into
// the upper half.
func addrAt(base netip.Addr, off uint64) netip.Addr {
	hi, lo := split128(base)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo+off)
	return likeFamily(base, b)
}

// lastAddr returns the highest address of a valid prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	fixed := 128 - hostBits(p)
	for i := range b {
		switch keep := fixed - 8*i; {
		case keep <= 0:
			b[i] = 0xff
		case keep < 8:
			b[i] |= 0xff >> keep
		}
	}
	return likeFamily(p.Addr(), b)
}

func likeFamily(like netip.Addr, b [16]byte) netip.Addr {
	a := netip.AddrFrom16(b)
	if like.Is4() {
		return a.Unmap()
	}
	return a
}

// hostBits is how many bits of a valid prefix number its addresses.
func hostBits(p netip.Prefix) int { return p.Addr().BitLen() - p.Bits() }

// span is how many addresses p has, at most maxSpan.
func span(p netip.Prefix) uint64 {
	if n := hostBits(p); n < 63 {
		return 1 << n
	}
	return maxSpan
}
