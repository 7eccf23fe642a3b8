package testutil_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

func TestStream(t *testing.T) {
	testutil.NoLeaks(t)
	const patience = 10 * time.Second
	a, b := pair(t)
	for _, to := range []*testutil.Stream{
		testutil.StartStream(t, a, b, b4.Addr(), 5*time.Millisecond), testutil.StartStream(t, a, b, b6.Addr(), 5*time.Millisecond),
	} {
		if _, err := to.Settle(t.Context(), patience); err != nil {
			t.Error(err)
		}
		if _, err := to.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// A link that is down for a while is seen as a stall of at least that length, and no packet comes back meanwhile.
func TestStreamStalls(t *testing.T) {
	testutil.NoLeaks(t)
	const down, patience = 300 * time.Millisecond, 20 * time.Second
	a, b := pair(t)
	s := testutil.StartStream(t, a, b, b4.Addr(), 5*time.Millisecond)
	if _, err := s.Settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	b.LinkDown(t, "eth0")
	if longest, err := s.Settle(t.Context(), down); err == nil {
		t.Errorf("something comes back over a link that is down; %v", longest)
	}
	b.LinkUp(t, "eth0")
	if longest, err := s.Settle(t.Context(), patience); err != nil || longest < down {
		t.Errorf("stall of %v, want at least %v; %v", longest, down, err)
	}
	if _, err := s.Stop(); err != nil {
		t.Error(err)
	}
}

// A connection whose other end is gone without a word takes nothing any more once the kernel's buffer is full, and a test
// ends all the same.
func TestStreamEndsOnDeadLink(t *testing.T) {
	testutil.NoLeaks(t)
	a, b := pair(t)
	a.Sysctl(t, "net/ipv4/tcp_wmem", "4096 4096 4096")
	s := testutil.StartStream(t, a, b, b4.Addr(), 20*time.Microsecond)
	b.LinkDown(t, "eth0")
	testutil.Eventually(t, 20*time.Second, func() error {
		if longest, err := s.Settle(t.Context(), time.Second); err == nil {
			return fmt.Errorf("something comes back, after %v", longest)
		}
		return nil
	})
}
