package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

func TestSweepCountsWhatIsLost(t *testing.T) {
	from, to := testutil.NewNS(t), testutil.NewNS(t)
	testutil.Connect(t, from, inside, to, inside)
	from.AddAddr(t, inside, netip.MustParsePrefix("10.79.0.1/24"))
	to.AddAddr(t, inside, netip.MustParsePrefix("10.79.0.2/24"), netip.MustParsePrefix("10.79.0.3/24"))
	here, there, nobody := netip.MustParseAddr("10.79.0.2"), netip.MustParseAddr("10.79.0.3"), netip.MustParseAddr("10.79.0.4")

	s, deaf := startSweep(t, from, []netip.Addr{here, there}, 4*time.Millisecond), startSweep(t, from, []netip.Addr{here, nobody}, 4*time.Millisecond)
	again := time.Now().Add(50 * time.Millisecond)
	for _, since := range []time.Time{{}, again} {
		testutil.Eventually(t, restartTimeout, func() error { return s.answered(since) })
	}
	if time.Now().Before(again) || s.answered(time.Now().Add(time.Hour)) == nil {
		t.Error("there are answers to what has not been sent")
	}
	if err := deaf.answered(time.Time{}); err == nil {
		t.Errorf("%s has answered", nobody)
	}
	if sent, lost, err := s.end(); err != nil || sent < 4 || lost != 0 {
		t.Errorf("two that answer: of %d lost %d, %v", sent, lost, err)
	}
	if sent, lost, err := deaf.end(); err != nil || lost != sent/2 {
		t.Errorf("one of two answers: of %d lost %d, %v", sent, lost, err)
	}
}
