package ovsvxlan

import (
	"fmt"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// A packet to an endpoint that the sender's host has not been told of yet waits, and its first question is not answered.
// Were it asked again after a second, as the kernel does by itself, the first packet would take that long.
func TestSandboxAsksAgainSoon(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, testutil.HostsOptions{})
	box := c.join(t, 0, overlay(1), 2)
	for _, family := range []string{"ipv4", "ipv6"} {
		out, err := box.Command("cat", "/proc/sys/net/"+family+"/neigh/eth0/retrans_time_ms").Output()
		if want := fmt.Sprintln(neighbourRetry.Milliseconds()); err != nil || string(out) != want {
			t.Errorf("%s asks again after %q ms, %v; want %q", family, out, err, want)
		}
	}
}
