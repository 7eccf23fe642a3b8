package ipam_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/ipam"
)

// BenchmarkAllocate proposes and commits an address, and frees and prunes another at random, so that the pool stays as
// full as it is. The claims lie scattered, which is the worst case for the pool.
func BenchmarkAllocate(b *testing.B) {
	for _, bench := range []struct {
		subnet  string
		percent float64
		owned   int
	}{
		{"10.0.0.0/16", 50, 32767},
		{"10.0.0.0/16", 90, 58980},
		{"10.0.0.0/16", 99.9, 65468},
		{"fd00:1::/112", 90, 58981},
		{"fd00:1::/64", 0, 60000},
	} {
		b.Run(fmt.Sprintf("%s at %v%%", bench.subnet, bench.percent), func(b *testing.B) {
			p := newPool(b, ipam.Config{Subnet: prefix(bench.subnet)})
			owned, rev := fill(b, p, bench.owned)
			random := rand.New(rand.NewPCG(1, 1))
			b.ReportAllocs()
			for b.Loop() {
				c, err := p.Candidate(0)
				if err != nil {
					b.Fatal(err)
				}
				i := random.IntN(len(owned))
				for _, claim := range []ipam.Claim{
					{Addr: c.Addr, State: ipam.Owned, Rev: rev + 1},
					{Addr: owned[i], State: ipam.Freed, Rev: rev + 2},
					{Addr: owned[i], State: ipam.Absent, Rev: rev + 3},
				} {
					if err := p.Observe(claim); err != nil {
						b.Fatal(err)
					}
				}
				rev += 3
				owned[i] = c.Addr
			}
		})
	}
}

// fill claims n scattered addresses of the first 65,534.
func fill(b *testing.B, p *ipam.Pool, n int) (owned []netip.Addr, rev int64) {
	b.Helper()
	claims := scattered(p.Subnet(), n)
	if err := p.Reset(claims, int64(n)); err != nil {
		b.Fatal(err)
	}
	for _, c := range claims {
		owned = append(owned, c.Addr)
	}
	return owned, int64(n)
}

func scattered(subnet netip.Prefix, n int) []ipam.Claim {
	var claims []ipam.Claim
	for a := subnet.Addr().Next(); len(claims) < 65534; a = a.Next() {
		claims = append(claims, ipam.Claim{Addr: a, State: ipam.Owned})
	}
	rand.New(rand.NewPCG(2, 2)).Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
	for i := range claims {
		claims[i].Rev = int64(i + 1)
	}
	return claims[:n]
}

// BenchmarkReuse allocates from a /16 that has tombstones only.
func BenchmarkReuse(b *testing.B) {
	p := newPool(b, ipam.Config{Subnet: prefix("10.0.0.0/16")})
	owned, rev := fill(b, p, 65534)
	for _, a := range owned {
		rev++
		if err := p.Observe(ipam.Claim{Addr: a, State: ipam.Freed, Rev: rev}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := p.Candidate(1)
		if err != nil {
			b.Fatal(err)
		}
		rev++
		if err := p.Observe(ipam.Claim{Addr: c.Addr, State: ipam.Freed, Rev: rev}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReset lists a /16 at 90%.
func BenchmarkReset(b *testing.B) {
	claims := scattered(prefix("10.0.0.0/16"), 58980)
	b.ReportAllocs()
	for b.Loop() {
		p := newPool(b, ipam.Config{Subnet: prefix("10.0.0.0/16")})
		if err := p.Reset(claims, 65534); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPick looks for the one subnet that 10,000 taken prefixes leave.
func BenchmarkPick(b *testing.B) {
	for _, bench := range []struct {
		pool   ipam.AddressPool
		family ipam.Family
	}{
		{ipam.AddressPool{Base: prefix("10.0.0.0/8"), Size: 24}, ipam.IPv4},
		{ipam.AddressPool{Base: prefix("fd00:1::/48"), Size: 64}, ipam.IPv6},
	} {
		b.Run(bench.family.String(), func(b *testing.B) {
			pools := []ipam.AddressPool{bench.pool}
			var taken []ipam.Taken
			for _, p := range everySubnet(pools, bench.family)[:10000] {
				taken = append(taken, ipam.Taken{Prefix: p, Culprit: "network"})
			}
			rand.New(rand.NewPCG(3, 3)).Shuffle(len(taken), func(i, j int) { taken[i], taken[j] = taken[j], taken[i] })
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ipam.Pick(pools, taken, bench.family); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
