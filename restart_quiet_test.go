package libcnm_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/step"
)

// TestRestartTakesNothingAway: New on a host that is right changes neither routes nor files of a sandbox. One that is in
// several networks must not be for a moment as if it were in the first of them only, or in none.
func TestRestartTakesNothingAway(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	both, _ := joined(t, c, "both", bridgeNetwork(t, c, "web"))
	gateway := newEndpoint(t, bridgeNetwork(t, c, "gateway"), "both")
	must(t, gateway.Join(ctx, both, libcnm.WithGatewayPriority(1))) // it has the default routes of both families
	newSandbox(t, c, "alone")
	must(t, c.Close())

	var mu sync.Mutex // guards changes
	var changes []string
	step.Observe(func(name string, at step.Moment) {
		mu.Lock()
		defer mu.Unlock()
		if at == step.Before {
			changes = append(changes, name)
		}
	})
	t.Cleanup(func() { step.Observe(nil) })
	c, err := f.tryOpen(t)
	step.Observe(nil)
	must(t, err)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("steps of New: %q", changes)
	for _, change := range []string{"add route", "remove route", "add address", "remove address", "empty file", "write file", "set arp_notify, announce, set arp_notify", "set sysctl"} {
		if slices.Contains(changes, change) {
			t.Errorf("New on a host that was right: %s", change)
		}
	}
	deleteAll(ctx, t, c)
}
