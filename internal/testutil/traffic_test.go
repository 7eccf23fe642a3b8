package testutil_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

var (
	a4, b4 = netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.0.2/24")
	a6, b6 = netip.MustParsePrefix("fd01::1/64"), netip.MustParsePrefix("fd01::2/64")
)

// pair is two namespaces that reach each other.
func pair(t *testing.T) (a, b *testutil.NS) {
	t.Helper()
	a, b = testutil.NewNS(t), testutil.NewNS(t)
	testutil.Connect(t, a, "eth0", b, "eth0")
	a.AddAddr(t, "eth0", a4, a6)
	b.AddAddr(t, "eth0", b4, b6)
	return a, b
}

func TestPing(t *testing.T) {
	testutil.NoLeaks(t)
	a, b := pair(t)
	for _, to := range []netip.Prefix{b4, b6} {
		if _, err := testutil.Ping(t.Context(), a, to.Addr()); err != nil {
			t.Error(err)
		}
		if _, err := testutil.PingSize(t.Context(), a, to.Addr(), 1500); err != nil {
			t.Errorf("packet of the link's size: %v", err)
		}
		if _, err := testutil.PingSize(t.Context(), a, to.Addr(), 1501); err == nil {
			t.Errorf("%s answers a packet larger than the link's MTU", to)
		}
	}
	b.LinkDown(t, "eth0")
	start := time.Now()
	if _, err := testutil.Ping(t.Context(), a, b4.Addr()); err == nil {
		t.Error("ping over a link that is down is answered")
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("ping without an answer took %v", d)
	}
}

func TestPinger(t *testing.T) {
	testutil.NoLeaks(t)
	a, b := pair(t)
	p := testutil.StartPinger(t, a, b6.Addr(), 5*time.Millisecond)
	received := func(n int) func() error {
		return func() error {
			if s := p.Stats(); s.Received < n {
				return errors.New(s.String())
			}
			return nil
		}
	}
	testutil.Eventually(t, 5*time.Second, received(20))
	b.LinkDown(t, "eth0")
	testutil.Eventually(t, 5*time.Second, func() error {
		if s := p.Stats(); s.Longest < 200*time.Millisecond {
			return errors.New(s.String())
		}
		return nil
	})
	b.LinkUp(t, "eth0")
	b.AddAddr(t, "eth0", b6) // a link that goes down loses its IPv6 addresses
	testutil.Eventually(t, 5*time.Second, received(p.Stats().Received+20))
	s, err := p.Stop()
	if err != nil {
		t.Logf("while the link was down: %v", err)
	}
	if s.Longest < 200*time.Millisecond || s.Received >= s.Sent || s.Received < 40 {
		t.Errorf("got %v; want a silence of 200ms or more, some of 40 or more unanswered", s)
	}
}

func TestPingerSeesNoGap(t *testing.T) {
	a, _ := pair(t)
	p := testutil.StartPinger(t, a, b4.Addr(), 2*time.Millisecond)
	testutil.Eventually(t, 5*time.Second, func() error {
		if s := p.Stats(); s.Received < 50 {
			return errors.New(s.String())
		}
		return nil
	})
	s, err := p.Stop()
	if err != nil || s.Received != s.Sent || s.Longest > 200*time.Millisecond {
		t.Errorf("got %v, error %v; want no loss and no silence", s, err)
	}
}

func TestTCP(t *testing.T) {
	testutil.NoLeaks(t)
	a, b := pair(t)
	for _, at := range []netip.Prefix{b4, b6} {
		server := testutil.StartEcho(t, b, netip.AddrPortFrom(at.Addr(), 0))
		if err := testutil.TryTCP(t.Context(), a, server); err != nil {
			t.Error(err)
		}
		rate, err := testutil.Transfer(t.Context(), a, b, at.Addr(), 50*time.Millisecond)
		if err != nil {
			t.Error(err)
		}
		if rate.Bytes < 1<<20 {
			t.Errorf("transfer to %s moved %d bytes in %v", at, rate.Bytes, rate.Duration)
		}
		t.Logf("%s: %v", at, rate)
	}
	if err := testutil.TryTCP(t.Context(), a, netip.AddrPortFrom(b4.Addr(), 9)); err == nil {
		t.Error("TCP to a closed port succeeds")
	}
	if _, err := testutil.Transfer(t.Context(), a, b, a4.Addr(), time.Second); err == nil {
		t.Error("transfer to an address of another namespace succeeds")
	}
}

func TestCapture(t *testing.T) {
	testutil.NoLeaks(t)
	a, b := pair(t)
	echo := testutil.StartCapture(t, b, "eth0", func(f testutil.Frame) bool {
		return f.Protocol == testutil.ProtocolICMPv6 && (f.ICMPType == 128 || f.ICMPType == 129)
	})
	arp := testutil.StartCapture(t, b, "eth0", func(f testutil.Frame) bool { return f.EtherType == testutil.EtherTypeARP })
	for range 3 {
		if _, err := testutil.Ping(t.Context(), a, b6.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	testutil.Eventually(t, 5*time.Second, func() error {
		if echo.Count() != 6 {
			return errors.New("three requests and three answers are not all captured")
		}
		return nil
	})
	if f := echo.Frames()[0]; f.IPSrc != a6.Addr() || f.IPDst != b6.Addr() || f.ICMPType != 128 {
		t.Errorf("first frame is %+v", f)
	}
	if n := arp.Count(); n != 0 {
		t.Errorf("%d ARP frames for IPv6 pings", n)
	}
	if err := echo.Stop(); err != nil {
		t.Error(err)
	}
}
