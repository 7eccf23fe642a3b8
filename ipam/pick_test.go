package ipam_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ipam"
)

var seed = [5]byte{0x12, 0x34, 0x56, 0x78, 0x9a}

func TestDefaultPools(t *testing.T) {
	pools := ipam.DefaultPools(seed)
	if err := ipam.ValidatePools(pools); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		family ipam.Family
		first  []string
		total  int
		last   string
	}{
		{ipam.IPv4, []string{"172.17.0.0/24", "172.17.1.0/24", "172.17.2.0/24"}, 4096, "192.168.255.0/24"},
		{ipam.IPv6, []string{"fd12:3456:789a::/64", "fd12:3456:789a:1::/64"}, 65536, "fd12:3456:789a:ffff::/64"},
	} {
		t.Run(test.family.String(), func(t *testing.T) {
			var taken []ipam.Taken
			var got []string
			for range test.first {
				p, err := ipam.Pick(pools, taken, test.family)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p.String())
				taken = append(taken, ipam.Taken{Prefix: p, Culprit: "network " + p.String()})
			}
			if !slices.Equal(got, test.first) {
				t.Errorf("got %v, want %v", got, test.first)
			}
			all := everySubnet(pools, test.family)
			if last := all[len(all)-1].String(); len(all) != test.total || last != test.last {
				t.Errorf("%d subnets, the last is %s, want %d and %s", len(all), last, test.total, test.last)
			}
		})
	}
}

// everySubnet cuts the pools of a family by hand.
func everySubnet(pools []ipam.AddressPool, family ipam.Family) []netip.Prefix {
	var all []netip.Prefix
	for _, b := range pools {
		if ipam.FamilyOf(b.Base) != family {
			continue
		}
		for a := b.Base.Addr(); b.Base.Contains(a); {
			all = append(all, netip.PrefixFrom(a, b.Size))
			bytes := a.AsSlice() // add 1 at bit Size-1
			for i := b.Size - 1; i >= 0; i-- {
				mask := byte(0x80) >> (i % 8)
				bytes[i/8] ^= mask
				if bytes[i/8]&mask != 0 {
					break
				}
			}
			next, _ := netip.AddrFromSlice(bytes)
			if next.Less(a) {
				break
			}
			a = next
		}
	}
	return all
}

// TestPickModel compares Pick with trying every subnet in turn.
func TestPickModel(t *testing.T) {
	pools := []ipam.AddressPool{
		{Base: prefix("10.0.0.0/26"), Size: 30}, {Base: prefix("10.0.1.0/28"), Size: 28}, {Base: prefix("255.255.254.0/27"), Size: 31},
		{Base: prefix("fd00::/122"), Size: 126}, {Base: prefix("fd00::1:0/124"), Size: 124}, {Base: prefix("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffe0/123"), Size: 127},
	}
	if err := ipam.ValidatePools(pools); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	full := 0
	for round := range 5000 {
		var taken []ipam.Taken
		for range random.IntN(20) {
			near := pools[random.IntN(len(pools))].Base
			for range random.IntN(70) {
				if next := near.Addr().Next(); next.IsValid() {
					near = netip.PrefixFrom(next, near.Bits())
				}
			}
			longest := near.Addr().BitLen()
			near = netip.PrefixFrom(near.Addr(), longest-random.IntN(8))
			if random.IntN(2) == 0 { // a route need not be in canonical form
				near = near.Masked()
			}
			taken = append(taken, ipam.Taken{Prefix: near, Culprit: fmt.Sprint(len(taken))})
		}
		for _, family := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
			want := netip.Prefix{}
			for _, p := range everySubnet(pools, family) {
				if ipam.Conflict(p, taken) == nil {
					want = p
					break
				}
			}
			got, err := ipam.Pick(pools, taken, family)
			if got != want || (err == nil) != want.IsValid() {
				t.Fatalf("round %d: with %v taken got %s, %v, want %s", round, taken, got, err, want)
			}
			if err != nil && !errors.Is(err, errdefs.ErrExhausted) {
				t.Fatal(err)
			}
			if err != nil {
				full++
			}
		}
	}
	if full == 0 {
		t.Error("no round filled the pools")
	}
}

func TestPickText(t *testing.T) {
	pools := []ipam.AddressPool{{prefix("10.0.0.0/22"), 24}, {prefix("10.8.0.0/24"), 24}, {prefix("fd00:1::/63"), 64}}
	for _, test := range []struct {
		name   string
		pools  []ipam.AddressPool
		taken  []ipam.Taken
		family ipam.Family
		want   string // of the error, else the subnet
	}{
		{"default routes are no obstacle", pools, []ipam.Taken{
			{prefix("0.0.0.0/0"), "host route dev eth0"}, {prefix("0.0.0.0/1"), "host route dev tun0"}, {netip.Prefix{}, "nothing"},
		}, ipam.IPv4, "10.0.0.0/24"},
		{"nor those of IPv6", []ipam.AddressPool{{prefix("2001:db8::/48"), 64}}, []ipam.Taken{
			{prefix("::/0"), "host route dev eth0"}, {prefix("::/1"), "host route dev tun0"}, {prefix("2000::/3"), "host route dev eth0"},
		}, ipam.IPv6, "2001:db8::/64"},
		{"a part is taken", pools, []ipam.Taken{
			{prefix("10.0.0.128/32"), "host route dev eth0"}, {prefix("10.0.1.0/24"), "network web"},
		}, ipam.IPv4, "10.0.2.0/24"},
		{"a pool is taken", pools, []ipam.Taken{{prefix("10.0.0.0/13"), "host route dev tun0"}}, ipam.IPv4, "10.8.0.0/24"},
		{"one route inside another", pools[1:], []ipam.Taken{
			{prefix("10.0.0.0/8"), "host route dev tun0"}, {prefix("10.7.0.0/24"), "host route dev eth0"},
		}, ipam.IPv4, "IPv4 subnet: all 1 of the address pools 10.8.0.0/24 by /24 overlap 1 taken prefixes: " +
			"10.0.0.0/8 (host route dev tun0): exhausted"},
		{"half of 2^56 subnets are taken", []ipam.AddressPool{{prefix("fd00::/8"), 64}}, []ipam.Taken{
			{prefix("fd00::/9"), "host route dev tun0"},
		}, ipam.IPv6, "fd80::/64"},
		{"a network of the other family", pools, []ipam.Taken{{prefix("fd00::/8"), "host route dev tun0"}}, ipam.IPv4, "10.0.0.0/24"},
		{"one culprit", pools, []ipam.Taken{{prefix("10.0.0.0/8"), "host route dev eth0"}}, ipam.IPv4,
			"IPv4 subnet: all 5 of the address pools 10.0.0.0/22 by /24, 10.8.0.0/24 by /24 overlap 1 taken prefixes: " +
				"10.0.0.0/8 (host route dev eth0): exhausted"},
		{"many culprits", pools, []ipam.Taken{
			{prefix("10.0.0.0/24"), "network a"}, {prefix("10.0.1.0/24"), "network b"}, {prefix("10.0.2.0/23"), "network c"},
			{prefix("10.8.0.7/32"), "host route dev wg0"}, {prefix("10.9.0.0/16"), "network elsewhere"},
		}, ipam.IPv4,
			"IPv4 subnet: all 5 of the address pools 10.0.0.0/22 by /24, 10.8.0.0/24 by /24 overlap 4 taken prefixes: " +
				"10.0.2.0/23 (network c), 10.0.0.0/24 (network a), 10.0.1.0/24 (network b) and 1 more: exhausted"},
		{"IPv6", pools, []ipam.Taken{{prefix("fd00:1::/64"), "network a"}, {prefix("fd00:1:0:1:8000::/65"), "network b"}}, ipam.IPv6,
			"IPv6 subnet: all 2 of the address pools fd00:1::/63 by /64 overlap 2 taken prefixes: " +
				"fd00:1::/64 (network a), fd00:1:0:1:8000::/65 (network b): exhausted"},
		{"no pool", pools[:2], nil, ipam.IPv6, "IPv6 subnet: no address pool of this family is configured: exhausted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.taken)
			got, err := ipam.Pick(test.pools, test.taken, test.family)
			text := got.String()
			if err != nil {
				text = err.Error()
			}
			if text != test.want || err != nil && !errors.Is(err, errdefs.ErrExhausted) {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
			if !slices.Equal(before, test.taken) {
				t.Error("the caller's slice was changed")
			}
		})
	}
}

func TestConflict(t *testing.T) {
	taken := []ipam.Taken{
		{prefix("172.20.0.0/16"), "network web"}, {prefix("10.0.0.0/8"), "host route dev eth0"}, {prefix("fd00:1::/64"), "network six"},
		{prefix("0.0.0.0/0"), "host route dev eth0"}, {prefix("::/0"), "host route dev eth0"},
	}
	for _, test := range []struct{ subnet, says string }{
		{"192.168.0.0/24", ""},
		{"172.21.0.0/16", ""},
		{"fd00:2::/64", ""},
		{"172.20.7.0/24", "subnet 172.20.7.0/24: overlaps 172.20.0.0/16 (network web): conflict"},
		{"172.16.0.0/12", "subnet 172.16.0.0/12: overlaps 172.20.0.0/16 (network web): conflict"},
		{"10.7.0.0/16", "subnet 10.7.0.0/16: overlaps 10.0.0.0/8 (host route dev eth0): conflict"},
		{"fd00:1::/48", "subnet fd00:1::/48: overlaps fd00:1::/64 (network six): conflict"},
	} {
		t.Run(test.subnet, func(t *testing.T) {
			err := ipam.Conflict(prefix(test.subnet), taken)
			if test.says == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			if !errors.Is(err, errdefs.ErrConflict) || err.Error() != test.says {
				t.Errorf("got %v, want %s", err, test.says)
			}
		})
	}
}

func TestValidatePools(t *testing.T) {
	for _, test := range []struct {
		pools []ipam.AddressPool
		says  string
	}{
		{nil, ""},
		{[]ipam.AddressPool{{prefix("10.0.0.0/8"), 24}, {prefix("fd00::/8"), 64}, {prefix("172.16.0.0/24"), 24}}, ""},
		{[]ipam.AddressPool{{prefix("10.0.0.0/30"), 31}, {prefix("fd00::/126"), 127}}, ""},
		{[]ipam.AddressPool{{prefix("10.0.0.0/24"), 16}}, "address pool 10.0.0.0/24 by /16: its subnets are larger than it"},
		{[]ipam.AddressPool{{prefix("10.0.0.0/24"), 0}}, "larger"},
		{[]ipam.AddressPool{{prefix("10.0.0.0/24"), 32}}, "need room for a gateway and an endpoint, /31 at most"},
		{[]ipam.AddressPool{{prefix("fd00::/48"), 128}}, "/127 at most"},
		{[]ipam.AddressPool{{prefix("fd00::/48"), 200}}, "/127 at most"},
		{[]ipam.AddressPool{{prefix("10.0.0.1/24"), 25}}, "host bits are set in 10.0.0.1"},
		{[]ipam.AddressPool{{prefix("224.0.0.0/8"), 24}}, "multicast"},
		{[]ipam.AddressPool{{netip.Prefix{}, 24}}, "not an address"},
		{[]ipam.AddressPool{{prefix("10.0.0.0/8"), 24}, {prefix("10.7.0.0/16"), 26}}, "10.7.0.0/16 by /26: overlaps address pool 10.0.0.0/8 by /24"},
	} {
		err := ipam.ValidatePools(test.pools)
		if test.says == "" {
			if err != nil {
				t.Errorf("%v: %v", test.pools, err)
			}
			continue
		}
		if !errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: got %v, want ErrInvalid that says %q", test.pools, err, test.says)
		}
	}
}

func TestMAC(t *testing.T) {
	seen := map[[6]byte]int{}
	for i := range 20000 {
		mac := ipam.MAC(fmt.Sprintf("endpoint %d", i))
		if mac[0]&0x0f != 0x02 {
			t.Fatalf("%x is not unicast and locally administered", mac)
		}
		if other, ok := seen[mac]; ok {
			t.Fatalf("%d and %d have one address", i, other)
		}
		seen[mac] = i
	}
	if got, want := ipam.MAC("endpoint"), [6]byte{0xb2, 0xbf, 0x7b, 0xc8, 0xd9, 0x6f}; got != want {
		t.Errorf("the address of an endpoint changed to %x", got)
	}
}
