package history_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/reliability/report"
)

// TestRaces lets 32 controllers want the same at the same moment, again and again: 16 addresses, 16 subnets, one name,
// one VNI. As many succeed as there is, and all others are refused for the right reason.
func TestRaces(t *testing.T) {
	t.Parallel()
	const racers, room = 32, 16
	rounds := report.Pick(5, 100)
	seed := chooseSeed(t)
	l := newLab(t, labOptions{members: members, processes: 8, nodes: racers / 8, seed: seed, wait: patience})
	r := newRun(l, 1, seed)
	home, blue, red := r.realms[0], r.realms[1], r.realms[3]
	lost := 0
	took := make(map[string]time.Duration)
	for round := range rounds {
		for _, race := range []struct {
			name    string
			realm   *realm
			request request
			winners int
			refusal string
		}{
			{"for addresses", blue, request{}, room, classExhausted},
			{"for an address", red, request{Addrs: red.static[0][:1]}, 1, classExists},
			{"for an IPv6 address", red, request{Addrs: red.static[1][:1]}, 1, classExists},
			{"for a MAC", red, request{MAC: drivers.MAC{2, 5: 9}}, 1, classExists},
			{"for an endpoint's name", red, request{Name: "one"}, 1, classExists},
			{"for subnets", home, request{}, room, classExhausted},
			{"for a network's name", home, request{Name: "one"}, 1, classExists},
			{"for a VNI", home, request{VNI: 7, Subnets: blue.subnets}, 1, classExists},
		} {
			start := time.Now()
			got := r.race(race.realm, race.request)
			took[race.name] += time.Since(start).Round(time.Millisecond)
			want := map[string]int{classDone: race.winners, race.refusal: racers - race.winners}
			if !maps.Equal(got, want) {
				t.Errorf("round %d, race %s: answers %v, want %v", round+1, race.name, got, want)
				lost++
			}
			r.empty()
		}
	}
	t.Logf("%d rounds of eight races took %v", rounds, took)
	leaks := r.finish()
	duplicates := check(t, &r.history)
	report.Add(t, report.Figures{Operations: r.history.Len(), Duplicates: duplicates + lost, Leaks: leaks})
}

// race lets all workers ask for the same at once, and counts the answers of each class.
func (r *run) race(on *realm, req request) map[string]int {
	r.t.Helper()
	var mu sync.Mutex
	classes := make(map[string]int)
	var racing sync.WaitGroup
	begin := make(chan struct{})
	for _, w := range r.workers {
		mine := req
		mine.Network, mine.Token = on.id, w.token()
		if mine.Name == "" {
			mine.Name = mine.Token
		}
		racing.Go(func() {
			<-begin
			class, err := w.acquire(r.ctx, on, mine)
			if err != nil {
				r.cancel(fmt.Errorf("worker %d: %w", w.number, err))
			}
			mu.Lock()
			defer mu.Unlock()
			classes[class]++
		})
	}
	close(begin)
	racing.Wait()
	r.must(r.ctx.Err())
	return classes
}
