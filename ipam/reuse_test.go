package ipam_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ipam"
)

// TestReuse frees addresses and looks at when they come back.
func TestReuse(t *testing.T) {
	p := newPool(t, ipam.Config{Subnet: prefix("10.0.0.0/29"), Gateway: addr("10.0.0.1")})
	take(t, p, 3, 1)
	observe(t, p, "10.0.0.3", ipam.Freed, 10)
	observe(t, p, "10.0.0.2", ipam.Freed, 11)
	if got, want := take(t, p, 2, 12), []string{"10.0.0.5", "10.0.0.6"}; !slices.Equal(got, want) {
		t.Fatalf("with addresses unused, got %v, want %v", got, want)
	}
	observe(t, p, "10.0.0.5", ipam.Freed, 20)
	for _, want := range []struct {
		addr string
		rev  int64
	}{{"10.0.0.3", 10}, {"10.0.0.2", 11}, {"10.0.0.5", 20}} {
		c, err := p.Candidate(0)
		if err != nil || c.Addr != addr(want.addr) || c.Replaces != want.rev {
			t.Fatalf("got %v, %v, want the oldest tombstone %v", c, err, want)
		}
	}
	exhausted(t, p, "pool 10.0.0.0/29: 2 of 5 addresses in use and 3 being allocated: exhausted")
}

// TestRelease gives candidates back and gets them again.
func TestRelease(t *testing.T) {
	p := newPool(t, ipam.Config{Subnet: prefix("fd00:1::/126"), Gateway: addr("fd00:1::1")})
	first, err := p.Candidate(0)
	if err != nil {
		t.Fatal(err)
	}
	p.Release(first)
	again, err := p.Candidate(0)
	if err != nil || again.Addr != first.Addr {
		t.Fatalf("got %v, %v, want %s once more", again, err, first.Addr)
	}
	p.Release(first) // late, and it is another's now
	second, err := p.Candidate(0)
	if err != nil || second.Addr == again.Addr {
		t.Fatalf("got %v, %v, which is held", second, err)
	}
	_, err = p.Candidate(3)
	full, ok := errors.AsType[*ipam.ExhaustedError](err)
	if !ok || *full != (ipam.ExhaustedError{Pool: prefix("fd00:1::/126"), Size: 2, Held: 2}) || !errors.Is(err, errdefs.ErrExhausted) {
		t.Fatalf("got %#v", err)
	}
	observe(t, p, second.Addr.String(), ipam.Owned, 1)
	p.Release(second)
	if got := p.Usage(); got != (ipam.Usage{Size: 2, Used: 1, Held: 1}) {
		t.Errorf("release after the commit changed the claim: %+v", got)
	}
	static, err := p.Static(again.Addr)
	if err != nil {
		t.Fatal(err)
	}
	p.Release(static)
	if got := p.Usage().Held; got != 1 {
		t.Errorf("a static candidate released what another holds")
	}
}

// TestNewsOutOfOrder tells what happened late, twice and in the wrong order.
func TestNewsOutOfOrder(t *testing.T) {
	const a = "10.0.0.2"
	type news struct {
		by    string
		state ipam.State
		rev   int64
	}
	for _, test := range []struct {
		name string
		news []news
		want ipam.State
	}{
		{"own commit before the watch", []news{{"learn", ipam.Owned, 5}, {"watch", ipam.Owned, 5}}, ipam.Owned},
		{"the watch tells of the time before", []news{{"learn", ipam.Owned, 5}, {"watch", ipam.Freed, 4}}, ipam.Owned},
		{"the watch was faster", []news{{"watch", ipam.Owned, 5}, {"watch", ipam.Freed, 6}, {"learn", ipam.Owned, 5}}, ipam.Freed},
		{"the watch was faster and it is pruned", []news{{"watch", ipam.Freed, 6}, {"watch", ipam.Absent, 7}, {"learn", ipam.Owned, 5}}, ipam.Absent},
		{"own free", []news{{"watch", ipam.Owned, 5}, {"learn", ipam.Freed, 6}}, ipam.Freed},
		{"listing after own commit", []news{{"learn", ipam.Owned, 5}, {"list empty", 0, 4}}, ipam.Owned},
		{"listing without it", []news{{"watch", ipam.Owned, 5}, {"list empty", 0, 6}}, ipam.Absent},
		{"own commit told after the listing", []news{{"list empty", 0, 6}, {"learn", ipam.Owned, 5}}, ipam.Absent},
		{"listing with it", []news{{"watch", ipam.Owned, 5}, {"list", ipam.Freed, 6}}, ipam.Freed},
		{"one transaction, event by event", []news{{"watch 10.0.0.3", ipam.Owned, 5}, {"learn", ipam.Owned, 5}}, ipam.Owned},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, ipam.Config{Subnet: prefix("10.0.0.0/24")})
			for _, n := range test.news {
				claim := ipam.Claim{Addr: addr(a), State: n.state, Rev: n.rev}
				var err error
				switch n.by {
				case "learn":
					err = p.Learn(claim)
				case "watch":
					err = p.Observe(claim)
				case "watch 10.0.0.3":
					claim.Addr = addr("10.0.0.3")
					err = p.Observe(claim)
				case "list":
					err = p.Reset([]ipam.Claim{claim}, n.rev)
				case "list empty":
					err = p.Reset(nil, n.rev)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			got := ipam.Absent
			if c, err := p.Static(addr(a)); err != nil {
				got = ipam.Owned
			} else if c.Replaces != 0 {
				got = ipam.Freed
			}
			if got != test.want {
				t.Errorf("%s is %s, want %s", a, got, test.want)
			}
		})
	}
}

func TestInvalidClaim(t *testing.T) {
	p := newPool(t, ipam.Config{Subnet: prefix("10.0.0.0/24")})
	good := ipam.Claim{Addr: addr("10.0.0.5"), State: ipam.Owned, Rev: 3}
	for _, bad := range []ipam.Claim{
		{},
		{Addr: addr("10.0.1.5"), State: ipam.Owned, Rev: 3},
		{Addr: addr("fd00::5"), State: ipam.Owned, Rev: 3},
		{Addr: addr("10.0.0.6"), State: ipam.Freed, Rev: 0},
		{Addr: addr("10.0.0.6"), State: ipam.Freed + 1, Rev: 3},
	} {
		for by, err := range map[string]error{
			"Observe": p.Observe(bad), "Learn": p.Learn(bad), "Reset": p.Reset([]ipam.Claim{good, bad}, 9),
		} {
			if !errors.Is(err, errdefs.ErrInvalid) {
				t.Errorf("%s(%v): %v, want ErrInvalid", by, bad, err)
			}
		}
	}
	if u := p.Usage(); u != (ipam.Usage{Size: 254}) {
		t.Errorf("the view changed: %+v", u)
	}
}

// TestPrune frees an address of a /64 again and again, and forgets what Prune says.
func TestPrune(t *testing.T) {
	p := newPool(t, ipam.Config{Subnet: prefix("fd00:1::/64"), Gateway: addr("fd00:1::1")})
	rev := int64(0)
	freedAt := map[string]int64{}
	for round := range int64(5000) {
		rev += 10
		c, err := p.Candidate(0)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Fresh {
			t.Fatalf("round %d: %v is above all that were used, and not fresh", round, c)
		}
		a := c.Addr.String()
		if _, again := freedAt[a]; again {
			t.Fatalf("%s came back in round %d", a, round)
		}
		observe(t, p, a, ipam.Owned, rev)
		observe(t, p, a, ipam.Freed, rev+1)
		freedAt[a] = rev + 1
		for _, old := range p.Prune() {
			if old.State != ipam.Freed || old.Rev != freedAt[old.Addr.String()] || rev-old.Rev < 10*1000 {
				t.Fatalf("at %d: pruned %v, freed at %d", rev, old, freedAt[old.Addr.String()])
			}
			observe(t, p, old.Addr.String(), ipam.Absent, rev+2)
		}
		if freed := p.Usage().Freed; freed > 1024+50 {
			t.Fatalf("%d tombstones were kept", freed)
		}
	}
	if freed := p.Usage().Freed; freed < 1024 {
		t.Errorf("only %d tombstones are left", freed)
	}

	// Another process sees only what is left.
	var left []ipam.Claim
	highest := netip.Addr{}
	for a, at := range freedAt {
		if highest.Less(addr(a)) {
			highest = addr(a)
		}
		if c, err := p.Static(addr(a)); err != nil {
			t.Fatal(err)
		} else if c.Replaces != 0 {
			left = append(left, ipam.Claim{Addr: addr(a), State: ipam.Freed, Rev: at})
		}
	}
	other := newPool(t, ipam.Config{Subnet: prefix("fd00:1::/64"), Gateway: addr("fd00:1::1")})
	if err := other.Reset(left, rev+2); err != nil {
		t.Fatal(err)
	}
	for a := range freedAt {
		for _, pool := range []*ipam.Pool{p, other} {
			if c, err := pool.Static(addr(a)); err != nil || c.Fresh {
				t.Fatalf("%s was used: %v, %v", a, c, err)
			}
		}
	}
	if c, err := other.Static(highest.Next()); err != nil || !c.Fresh {
		t.Errorf("%s was never used: %v, %v", highest.Next(), c, err)
	}

	small := newPool(t, ipam.Config{Subnet: prefix("10.0.0.0/21")}) // 2046: never 1024 unused and 1074 freed
	for i, a := 1, addr("10.0.0.1"); i <= 2046; i, a = i+1, a.Next() {
		observe(t, small, a.String(), ipam.Freed, int64(i))
		if got := small.Prune(); got != nil {
			t.Fatalf("pruned %v with %d freed of 2046", got, i)
		}
	}
}

// TestPruneSparesTheHighest frees the highest address first: without its tombstone those below would be taken for fresh.
func TestPruneSparesTheHighest(t *testing.T) {
	p := newPool(t, ipam.Config{Subnet: prefix("10.0.0.0/16")})
	highest := "10.0.200.1"
	observe(t, p, highest, ipam.Owned, 1)
	observe(t, p, highest, ipam.Freed, 2)
	pruned := 0
	for i, a := int64(10), addr("10.0.0.1"); i < 3000; i, a = i+1, a.Next() {
		observe(t, p, a.String(), ipam.Freed, i)
		for _, old := range p.Prune() {
			if old.Addr == addr(highest) {
				t.Fatal("the highest was pruned")
			}
			observe(t, p, old.Addr.String(), ipam.Absent, i)
			pruned++
		}
	}
	if pruned < 1000 {
		t.Errorf("only %d were pruned", pruned)
	}
}
