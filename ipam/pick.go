package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// named is how many culprits a message names; the widest say most about what to change.
const named = 3

// Taken is a prefix that a new subnet must not overlap, and who has it: "network web", "host route dev eth0". A route
// that stands for the default route says nothing of what is in use and is passed over: a length of 0, and 1 as well (VPN
// clients split the default route in two so as to win over it), for IPv6 up to 3 (2000::/3 is all of the Internet).
type Taken struct {
	Prefix  netip.Prefix
	Culprit string
}

func (t Taken) String() string { return fmt.Sprintf("%s (%s)", t.Prefix, t.Culprit) }

// blocks reports whether t is in the way of anything.
func (t Taken) blocks() bool {
	if !t.Prefix.IsValid() {
		return false
	}
	if FamilyOf(t.Prefix) == IPv4 {
		return t.Prefix.Bits() > 1
	}
	return t.Prefix.Bits() > 3
}

// Conflict reports ErrConflict, naming who is in the way, when prefix overlaps something taken.
func Conflict(prefix netip.Prefix, taken []Taken) error {
	var culprits []Taken
	for _, t := range taken {
		if t.blocks() && t.Prefix.Overlaps(prefix) {
			culprits = append(culprits, t)
		}
	}
	if len(culprits) == 0 {
		return nil
	}
	return fmt.Errorf("subnet %s: overlaps %s: %w", prefix, describe(culprits), errdefs.ErrConflict)
}

// Pick returns the first subnet of the pools of one family that overlaps nothing taken. ErrExhausted names the pools
// and what is in their way. The pools are valid ones (see ValidatePools). The time it takes is that of sorting taken.
func Pick(pools []AddressPool, taken []Taken, family Family) (netip.Prefix, error) {
	blocked := disjoint(taken, family)
	var searched []AddressPool
	for _, b := range pools {
		if FamilyOf(b.Base) != family {
			continue
		}
		if free, ok := firstFree(b, blocked); ok {
			return free, nil
		}
		searched = append(searched, b)
	}
	return netip.Prefix{}, noSubnet(searched, taken, family)
}

// disjoint returns the widest prefixes of taken in address order. Two prefixes are disjoint or one contains the other,
// and sorted this way the one that contains comes first.
func disjoint(taken []Taken, family Family) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range taken {
		if t.blocks() && FamilyOf(t.Prefix) == family {
			all = append(all, t.Prefix.Masked())
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	widest := all[:0]
	for _, p := range all {
		if n := len(widest); n == 0 || !widest[n-1].Contains(p.Addr()) {
			widest = append(widest, p)
		}
	}
	return widest
}

// firstFree returns the first subnet of b that overlaps none of blocked, which are disjoint and in order.
func firstFree(b AddressPool, blocked []netip.Prefix) (netip.Prefix, bool) {
	// The one before the first that starts inside the block may reach into it.
	i, _ := slices.BinarySearchFunc(blocked, b.Base.Addr(), func(p netip.Prefix, a netip.Addr) int {
		return p.Addr().Compare(a)
	})
	i = max(i-1, 0)
	for subnet := netip.PrefixFrom(b.Base.Addr(), b.Size); ; {
		for i < len(blocked) && lastAddr(blocked[i]).Less(subnet.Addr()) {
			i++
		}
		if i == len(blocked) || !blocked[i].Overlaps(subnet) {
			return subnet, true
		}
		// On past whichever of the two ends later.
		end := lastAddr(subnet)
		if over := lastAddr(blocked[i]); end.Less(over) {
			end = over
		}
		after := end.Next()
		if !b.Base.Contains(after) { // nor does it contain the invalid address that follows the last one
			return netip.Prefix{}, false
		}
		subnet = netip.PrefixFrom(after, b.Size)
	}
}

func noSubnet(searched []AddressPool, taken []Taken, family Family) error {
	if len(searched) == 0 {
		return fmt.Errorf("%s subnet: no address pool of this family is configured: %w", family, errdefs.ErrExhausted)
	}
	var total uint64
	var names []string
	for _, b := range searched {
		names = append(names, b.String())
		if total += b.subnets(); total < b.subnets() {
			total = ^uint64(0)
		}
	}
	var culprits []Taken
	for _, t := range taken {
		if t.blocks() && slices.ContainsFunc(searched, func(b AddressPool) bool { return b.Base.Overlaps(t.Prefix) }) {
			culprits = append(culprits, t)
		}
	}
	return fmt.Errorf("%s subnet: all %d of the address pools %s overlap %d taken prefixes: %s: %w",
		family, total, strings.Join(names, ", "), len(culprits), describe(culprits), errdefs.ErrExhausted)
}

// describe names the widest culprits, and says how many there are.
func describe(culprits []Taken) string {
	slices.SortStableFunc(culprits, func(a, b Taken) int { return cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()) })
	var names []string
	for _, t := range culprits[:min(named, len(culprits))] {
		names = append(names, t.String())
	}
	text := strings.Join(names, ", ")
	if more := len(culprits) - named; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
