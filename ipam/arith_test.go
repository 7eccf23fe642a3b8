package ipam

import (
	"math/big"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestArithmetic compares with math/big.
func TestArithmetic(t *testing.T) {
	number := func(a netip.Addr) *big.Int { return new(big.Int).SetBytes(a.AsSlice()) }
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		base := netip.AddrFrom16(b)
		if random.IntN(2) == 0 {
			base = netip.AddrFrom4([4]byte(b[:4]))
		}
		p := netip.PrefixFrom(base, random.IntN(base.BitLen()+1)).Masked()
		last := lastAddr(p)
		size := new(big.Int).Lsh(big.NewInt(1), uint(hostBits(p)))
		if want := new(big.Int).Add(number(p.Addr()), size); number(last).Cmp(want.Sub(want, big.NewInt(1))) != 0 {
			t.Fatalf("last address of %s is %s", p, last)
		}
		if want := min(hostBits(p), 63); span(p) != 1<<want {
			t.Fatalf("span of %s is %d", p, span(p))
		}
		off := random.Uint64N(span(p))
		at := addrAt(p.Addr(), off)
		if want := new(big.Int).Add(number(p.Addr()), new(big.Int).SetUint64(off)); number(at).Cmp(want) != 0 || at.Is4() != base.Is4() {
			t.Fatalf("%s + %d is %s", p.Addr(), off, at)
		}
		if got, ok := offset(p.Addr(), at); !ok || got != off {
			t.Fatalf("%s - %s is %d, %t, want %d", at, p.Addr(), got, ok, off)
		}
		other := netip.PrefixFrom(addrAt(base, 0), random.IntN(base.BitLen()+1)).Masked().Addr()
		diff := new(big.Int).Sub(number(other), number(base))
		got, ok := offset(base, other)
		if want := diff.Sign() >= 0 && diff.IsUint64(); ok != want || ok && got != diff.Uint64() {
			t.Fatalf("%s - %s is %d, %t, want %s", other, base, got, ok, diff)
		}
	}
	top := netip.MustParseAddr("ffff:ffff:ffff:ffff::1")
	if got, ok := offset(top, netip.IPv6Unspecified()); ok {
		t.Errorf(":: - %s is %d", top, got)
	}
}

// TestOffsets does random things to a set of offsets and to a plain map.
func TestOffsets(t *testing.T) {
	const size = 200
	random := rand.New(rand.NewPCG(3, 4))
	var set offsets
	plain := map[uint64]bool{}
	for step := range 5000 {
		x := random.Uint64N(size)
		if random.IntN(100) < 30+40*(step/1000%2) {
			set.add(x)
			plain[x] = true
		} else {
			set.remove(x)
			delete(plain, x)
		}
		if set.count() != uint64(len(plain)) {
			t.Fatalf("step %d: count is %d, want %d", step, set.count(), len(plain))
		}
		for i, runs := 1, inOrder(set.runs.root); i < len(runs); i++ {
			if runs[i].first <= runs[i-1].last+1 {
				t.Fatalf("step %d: %v and %v are not apart", step, runs[i-1], runs[i])
			}
		}
		var rank uint64
		for x := range uint64(size) {
			if got := set.absentBelow(x); got != rank {
				t.Fatalf("step %d: %d absent below %d, want %d", step, got, x, rank)
			}
			if plain[x] {
				continue
			}
			if got := set.absent(rank); got != x {
				t.Fatalf("step %d: absent number %d is %d, want %d", step, rank, got, x)
			}
			rank++
		}
	}
}

func inOrder(n *node[run]) []run {
	if n == nil {
		return nil
	}
	return append(append(inOrder(n.left), n.key), inOrder(n.right)...)
}
