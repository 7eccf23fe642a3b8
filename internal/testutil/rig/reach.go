package rig

import (
	"fmt"
	"net/netip"

	"github.com/libcnm/libcnm/internal/testutil"
)

// Reach expects an answer to a ping from every address.
func Reach(t testutil.TB, from *testutil.NS, to ...netip.Addr) {
	t.Helper()
	for _, a := range to {
		if _, err := testutil.Ping(t.Context(), from, a); err != nil {
			t.Errorf("%v", err)
		}
	}
}

// NoReach expects none. It pings all addresses at the same time, because each takes its whole time-out.
func NoReach(t testutil.TB, from *testutil.NS, to ...netip.Addr) {
	t.Helper()
	answers := make(chan error, len(to))
	for _, a := range to {
		go func() {
			if _, err := testutil.Ping(t.Context(), from, a); err == nil {
				answers <- fmt.Errorf("%s reaches %s, and must not", from.Name, a)
				return
			}
			answers <- nil
		}()
	}
	for range to {
		if err := <-answers; err != nil {
			t.Errorf("%v", err)
		}
	}
}
