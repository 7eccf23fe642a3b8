package libcnm_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestRestartAnnouncesOnlyWhatNobodyHeard: with as many endpoints as a bridge has ports, announcing them all once more would
// be a million packets. An endpoint whose controller died before it announced it must be announced, though.
func TestRestartAnnouncesOnlyWhatNobodyHeard(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := bridgeNetwork(t, c, "web")
	used := newEndpoint(t, n, "used")
	must(t, used.Delete(ctx))
	a := newSandbox(t, c, "a")
	ep, err := n.CreateEndpoint(ctx, "a", libcnm.WithIP(addrsOf(used)...)) // of new addresses nobody is told
	must(t, err)
	must(t, ep.Join(ctx, a))
	b, _ := joined(t, c, "b", n)
	addrs := addrsOf(ep)
	heard := testutil.StartCapture(t, inside(t, b), "eth0", announcement)
	about := func(addr netip.Addr) (n int) {
		for _, frame := range heard.Frames() {
			if frame.IPSrc == addr {
				n++
			}
		}
		return n
	}
	// A restart in which somebody is announced after all is the mark behind one in which nobody was.
	again := func(alias string) {
		t.Helper()
		if alias != "" {
			output(t, a, "ip", "link", "set", "eth0", "alias", alias)
		}
		must(t, c.Close())
		c = f.open(t)
		a = lookup(t, c, "a")
	}
	again("")
	again("nobody's")
	for _, addr := range addrs {
		testutil.Eventually(t, 3*time.Second, func() error {
			if about(addr) == 0 {
				return fmt.Errorf("%s was not announced by the second restart", addr)
			}
			return nil
		})
		if n := about(addr); n != 1 {
			t.Errorf("%s was announced %d times in two restarts, want once by the second", addr, n)
		}
	}
	deleteAll(ctx, t, c)
}

// deleteAll leaves the host, which is other tests' too, as a controller without networks would.
func deleteAll(ctx context.Context, t *testing.T, c *libcnm.NetworkController) {
	t.Helper()
	for _, sb := range c.Sandboxes() {
		must(t, sb.Delete(ctx))
	}
	networks, err := c.Networks(ctx)
	must(t, err)
	for _, n := range networks {
		eps, err := n.Endpoints(ctx)
		must(t, err)
		for _, ep := range eps {
			must(t, ep.Delete(ctx))
		}
		must(t, n.Delete(ctx))
	}
}
