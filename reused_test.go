package libcnm_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestReusedAddressIsAnnounced gives the addresses of an endpoint to another one. Whoever talked to the first reaches the
// second at once; where an address is new there is nothing to forget, and nobody is told.
func TestReusedAddressIsAnnounced(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	web := bridgeNetwork(t, c, "web")
	old, _ := joined(t, c, "old", web)
	heard := testutil.StartCapture(t, inside(t, old), "eth0", announcement)

	first, eps := joined(t, c, "first", web)
	addrs := addrsOf(eps[0])
	must(t, reach(ctx, inside(t, old), addrs...))
	if n := heard.Count(); n > 0 {
		t.Errorf("%d announcements of addresses that nobody had before: %+v", n, heard.Frames())
	}

	must(t, first.Delete(ctx))
	must(t, eps[0].Delete(ctx))
	again, err := web.CreateEndpoint(ctx, "second", libcnm.WithIP(addrs...))
	must(t, err)
	must(t, again.Join(ctx, newSandbox(t, c, "second")))
	told := make(map[netip.Addr]bool)
	testutil.Eventually(t, 5*time.Second, func() error {
		for _, f := range heard.Frames() {
			told[f.IPSrc] = true
		}
		for _, a := range addrs {
			if !told[a] {
				return fmt.Errorf("%s was not announced: %+v", a, heard.Frames())
			}
		}
		return nil
	})
	must(t, reach(ctx, inside(t, old), addrs...))
}

// announcement is a gratuitous ARP request, or an unsolicited neighbour advertisement.
func announcement(f testutil.Frame) bool {
	const advertisement = 136
	return f.EtherType == testutil.EtherTypeARP && f.IPSrc == f.IPDst || f.ICMPType == advertisement && f.IPDst.IsMulticast()
}
