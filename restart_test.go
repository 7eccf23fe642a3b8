package libcnm_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
)

// syncs is a driver that keeps what it was told by Sync.
type syncs struct {
	drivers.Driver
	mu   sync.Mutex // guards seen
	seen [][]drivers.NetworkState
}

func (s *syncs) Unwrap() drivers.Driver { return s.Driver }

func (s *syncs) Sync(ctx context.Context, want []drivers.NetworkState) error {
	s.mu.Lock()
	s.seen = append(s.seen, want)
	s.mu.Unlock()
	return s.Driver.Sync(ctx, want)
}

// TestRestartKnowsPeersFromTheStart: a Sync without the peers would take their flows away, and traffic to other nodes
// would stop until they are told again.
func TestRestartKnowsPeersFromTheStart(t *testing.T) {
	ctx := t.Context()
	cs, fs, _ := newCluster(t, 2)
	clusterNetwork(t, cs[0], "blue")
	var eps []*libcnm.Endpoint
	for i, c := range cs {
		ep := newEndpoint(t, mustNetwork(t, c, "blue"), fmt.Sprint("ep", i+1))
		must(t, ep.Join(ctx, newSandbox(t, c, "container")))
		eps = append(eps, ep)
	}
	must(t, cs[0].Close())

	fake := drivertest.NewFake(drivertest.FakeConfig{Host: fs[0].host, Info: fakenet})
	driver := &syncs{Driver: linkless{fake}}
	again, err := libcnm.New(ctx, append(fs[0].opts, libcnm.WithDriver(driver))...)
	must(t, err)
	t.Cleanup(func() { must(t, again.Close()) })
	driver.mu.Lock()
	seen := slices.Clone(driver.seen)
	driver.mu.Unlock()
	must(t, lookup(t, again, "container").Delete(ctx))
	if len(seen) == 0 {
		t.Fatal("New did not sync the driver")
	}
	for i, want := range seen {
		switch {
		case len(want) != 1 || len(want[0].Peers) != 1 || len(want[0].Members) != 1:
			t.Errorf("Sync %d of %d: %+v, want one network with one peer and one member", i+1, len(seen), want)
		case string(want[0].Peers[0].Endpoint) != eps[1].ID() || want[0].Members[0].Node != "node2":
			t.Errorf("Sync %d of %d: peers %+v, members %+v", i+1, len(seen), want[0].Peers, want[0].Members)
		}
	}
}
