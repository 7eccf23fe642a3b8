package ipam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
)

// cluster is a store of claims and its history.
type cluster struct {
	claims map[netip.Addr]Claim
	events []Claim // the event at index i is of revision i+1
}

func (s *cluster) put(addr netip.Addr, state State) Claim {
	c := Claim{Addr: addr, State: state, Rev: int64(len(s.events) + 1)}
	s.claims[addr] = c
	s.events = append(s.events, c)
	return c
}

// commit is the guarded transaction of an endpoint.
func (s *cluster) commit(c Candidate) (Claim, bool) {
	have := s.claims[c.Addr]
	if have.State == Owned || have.Rev != c.Replaces {
		return have, false
	}
	return s.put(c.Addr, Owned), true
}

// controller is a process with a view of its own, somewhere between proposing and committing an address.
type controller struct {
	pool    *Pool
	watched int // how many events its watch has delivered
	attempt int
	trying  *Candidate
	owned   []netip.Addr
}

// contend lets controllers allocate total addresses, their steps mixed at random. Each watch is up to lag events
// behind. One allocation in freeEvery is followed by freeing an address (0: none). It returns how many commits met a
// conflict and the highest number of attempts an allocation needed.
func contend(t *testing.T, cfg Config, controllers, total, lag, freeEvery int) (store *cluster, conflicts, worst int) {
	random := rand.New(rand.NewPCG(1, uint64(controllers)))
	store = &cluster{claims: map[netip.Addr]Claim{}}
	all := make([]*controller, controllers)
	for i := range all {
		pool, err := NewPool(cfg)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = &controller{pool: pool}
	}
	for done := 0; done < total; {
		c := all[random.IntN(controllers)]
		for c.watched < len(store.events)-random.IntN(lag+1) {
			if err := c.pool.Observe(store.events[c.watched]); err != nil {
				t.Fatal(err)
			}
			c.watched++
		}
		if c.trying == nil {
			proposed, err := c.pool.Candidate(c.attempt)
			if _, ok := errors.AsType[*ExhaustedError](err); ok && done < total && c.watched < len(store.events) {
				continue // its view is behind
			}
			if err != nil {
				t.Fatalf("after %d of %d allocations: %v", done, total, err)
			}
			c.trying = &proposed
			continue
		}
		claim, ok := store.commit(*c.trying)
		if !ok {
			conflicts++
			c.attempt++
			worst = max(worst, c.attempt)
		}
		if claim.Rev > 0 {
			if err := c.pool.Learn(claim); err != nil {
				t.Fatal(err)
			}
		}
		c.pool.Release(*c.trying)
		if c.trying = nil; !ok {
			continue
		}
		done++
		c.attempt = 0
		c.owned = append(c.owned, claim.Addr)
		if freeEvery > 0 && done%freeEvery == 0 {
			i := random.IntN(len(c.owned))
			store.put(c.owned[i], Freed)
			c.owned = append(c.owned[:i], c.owned[i+1:]...)
		}
	}
	return store, conflicts, worst + 1
}

func TestContention(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, test := range []struct {
		name                           string
		cfg                            Config
		controllers, total, lag, freed int
		conflicts, attempts            int // at most
	}{
		{"one controller never conflicts", Config{Subnet: prefix("10.0.0.0/16")}, 1, 2000, 40, 4, 0, 1},
		{"eight, 10000 of a /16", Config{Subnet: prefix("10.0.0.0/16"), Gateway: addr("10.0.0.1")}, 8, 10000, 40, 0, 1000, 6},
		{"eight, 10000 of a /64", Config{Subnet: prefix("fd00:1::/64"), Gateway: addr("fd00:1::1")}, 8, 10000, 40, 0, 1000, 6},
		{"eight, with freeing", Config{Subnet: prefix("10.0.0.0/16")}, 8, 10000, 40, 3, 1000, 6},
		{"a hundred, 3000 of a /16", Config{Subnet: prefix("10.0.0.0/16")}, 100, 3000, 400, 0, 2500, 8},
		{"eight, all of a /22", Config{Subnet: prefix("10.0.0.0/22")}, 8, 1022, 16, 0, 400, 12},
		{"eight, all of a /118", Config{Subnet: prefix("fd00:1::/118")}, 8, 1023, 16, 0, 400, 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, conflicts, attempts := contend(t, test.cfg, test.controllers, test.total, test.lag, test.freed)
			t.Logf("%d allocations: %d conflicts, at most %d attempts", test.total, conflicts, attempts)
			if conflicts > test.conflicts || attempts > test.attempts {
				t.Errorf("want at most %d conflicts and %d attempts", test.conflicts, test.attempts)
			}
			// While others are free no freed address comes back: every claim was committed once.
			commits := map[netip.Addr]int{}
			for _, e := range store.events {
				if e.State == Owned {
					commits[e.Addr]++
				}
			}
			if len(commits) != test.total {
				t.Errorf("%d allocations gave %d different addresses", test.total, len(commits))
			}
		})
	}
}

// TestParallel uses one pool from many goroutines, as a controller that makes endpoints in parallel does: as long as
// one of them holds an address no other gets it.
func TestParallel(t *testing.T) {
	pool, err := NewPool(Config{Subnet: netip.MustParsePrefix("10.0.0.0/22")})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var rev int64
	owners := map[netip.Addr]int{}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := range 120 {
				c, err := pool.Candidate(0)
				if err != nil {
					t.Error(err)
					return
				}
				if i%15 == 0 {
					pool.Release(c)
					continue
				}
				mu.Lock()
				rev++
				claim := Claim{c.Addr, Owned, rev}
				owners[c.Addr]++
				mu.Unlock()
				if err := pool.Learn(claim); err != nil {
					t.Error(err)
				}
				pool.Prune()
			}
		})
	}
	workers.Wait()
	if want := 8 * 112; len(owners) != want {
		t.Errorf("%d different addresses were given, want %d", len(owners), want)
	}
	for addr, n := range owners {
		if n > 1 {
			t.Errorf("%s was given %d times", addr, n)
		}
	}
}
