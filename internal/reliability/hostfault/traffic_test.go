package hostfault

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	pingEvery   = 20 * time.Millisecond
	probeEvery  = 10 * time.Millisecond
	streamEvery = 10 * time.Millisecond
)

// pings is a pinger for each address of a route.
type pings struct {
	route
	all []*testutil.Pinger
}

func startPings(t *testing.T, r route) *pings {
	t.Helper()
	p := &pings{route: r}
	for _, to := range r.to {
		p.all = append(p.all, testutil.StartPinger(t, r.from, to, pingEvery))
	}
	return p
}

// received returns how many answers each has had.
func (p *pings) received() []int {
	n := make([]int, len(p.all))
	for i, one := range p.all {
		n[i] = one.Stats().Received
	}
	return n
}

// since reports whether all have had so many more answers than before.
func (p *pings) since(before []int, more int) error {
	for i, n := range p.received() {
		if n < before[i]+more {
			return fmt.Errorf("%s: %s does not answer", p.name, p.to[i])
		}
	}
	return nil
}

// toll is what a fault has cost a route.
type toll struct {
	sent, lost int
	silence    time.Duration // the longest
	err        error         // the first that sending met
}

// stop ends the pings and sums up.
func (p *pings) stop() toll {
	var sum toll
	for _, one := range p.all {
		s, err := one.Stop()
		sum.sent, sum.lost = sum.sent+s.Sent, sum.lost+s.Sent-s.Received
		sum.silence, sum.err = max(sum.silence, s.Longest), errors.Join(sum.err, err)
	}
	return sum
}

// guard watches over what must never be possible: from one network into another.
type guard struct {
	name    string
	pingers []*testutil.Pinger
	capture *testutil.Capture // of what comes to the target from elsewhere
	dials   atomic.Int64
	opened  atomic.Int64
}

// forbid begins to try, and to watch, whether anything comes from one box to the other. It ends with the test.
func (w *world) forbid(t *testing.T, from, to *box) {
	t.Helper()
	g := &guard{name: from.name + " to " + to.name}
	target := *to // as it is now: it may join again meanwhile
	g.capture = testutil.StartCapture(t, to.ns, "eth0", func(f testutil.Frame) bool { return target.strange(f.IPSrc) })
	for _, addr := range to.addrs {
		g.pingers = append(g.pingers, testutil.StartPinger(t, from.ns, addr, probeEvery))
	}
	server := testutil.StartEcho(t, to.ns, netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
	ctx, cancel := context.WithCancel(t.Context())
	var dialing sync.WaitGroup
	for _, addr := range to.addrs {
		conn, err := to.ns.Dial(ctx, netip.AddrPortFrom(addr, server.Port())) // who is let in, gets in
		must(t, err)
		must(t, conn.Close())
		dialing.Go(func() { g.dial(ctx, from.ns, netip.AddrPortFrom(addr, server.Port())) })
	}
	t.Cleanup(func() {
		cancel()
		dialing.Wait()
	})
	w.guards = append(w.guards, g)
}

// dial tries to connect until ctx ends.
func (g *guard) dial(ctx context.Context, from *testutil.NS, to netip.AddrPort) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		conn, err := from.Dial(one, to)
		if err == nil {
			g.opened.Add(1)
			conn.Close() // the connection itself is the failure
		}
		<-one.Done()
		cancel()
		g.dials.Add(1)
	}
}

// crossed returns how often it was tried so far, and how often something came through.
func (g *guard) crossed() (tried, through int) {
	tried, through = int(g.dials.Load()), int(g.opened.Load())+g.capture.Count()
	for _, p := range g.pingers {
		s := p.Stats()
		tried, through = tried+s.Sent-s.Unsent, through+s.Received
	}
	return tried, through
}

// stream opens a connection in each family that lasts until the test ends.
func (w *world) stream(t *testing.T, from, to *box) {
	t.Helper()
	for _, addr := range to.addrs {
		w.streams = append(w.streams, testutil.StartStream(t, from.ns, to.ns, addr, streamEvery))
	}
}
