package main

import (
	"slices"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// On the netdev datapath the order in which ovs-vswitchd looks at its ports decides how long a ping takes: see echo. From host to
// host the way back does not lose what the way there has won, so ways are compared that have the same luck.
const (
	luckPairs = 4   // of endpoints to choose from
	luckPings = 300 // each way, to see it by
	sameLuck  = 1.1 // times the other's ping, at most
)

// sharing returns one of each that have the same luck: both have it if there are such.
func sharing(t testutil.TB, own, hand []*way) compared {
	t.Helper()
	owns, ownTrips := byTrip(t, own)
	hands, handTrips := byTrip(t, hand)
	c := compared{owns[0], hands[0]}
	switch ratio := float64(ownTrips[0]) / float64(handTrips[0]); {
	case ratio > sameLuck:
		c.hand = hands[len(hands)-1]
	case ratio < 1/sameLuck:
		c.own = owns[len(owns)-1]
	}
	return c
}

// byTrip orders ways by what a calm ping takes, which it returns too.
func byTrip(t testutil.TB, ways []*way) ([]*way, []time.Duration) {
	t.Helper()
	trips := make(map[*way]time.Duration)
	for _, w := range ways {
		w.ready(t)
		trips[w] = calmTrip(t, w)
	}
	sorted := slices.SortedFunc(slices.Values(ways), func(a, b *way) int { return int(trips[a] - trips[b]) })
	times := make([]time.Duration, len(sorted))
	for i, w := range sorted {
		times[i] = trips[w]
	}
	return sorted, times
}

func calmTrip(t testutil.TB, w *way) time.Duration {
	t.Helper()
	probe, err := openEcho(t.Context(), w, w.addrs[0], smallPayload)
	if err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	var trips []time.Duration
	for range luckPings {
		trip, err := probe.once()
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		trips = append(trips, trip)
	}
	if err := probe.close(); err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
	slices.Sort(trips)
	return trips[int(calm*luckPings)]
}
