package libcnm_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
)

// shy is a driver that once refuses to be told of peers when asked to.
type shy struct {
	drivers.Driver
	refuse  atomic.Bool
	refused chan struct{}
}

func (s *shy) Unwrap() drivers.Driver { return s.Driver }

func (s *shy) ApplyPeers(ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
	if s.refuse.CompareAndSwap(true, false) {
		close(s.refused)
		return fmt.Errorf("peers of network %s: not now: %w", id, drivers.ErrUnavailable)
	}
	applier, _ := drivers.As[drivers.PeerApplier](s.Driver)
	return applier.ApplyPeers(ctx, id, u)
}

// TestNewsAreNoDifference: what a driver is about to be told of other nodes is no difference between the desired state and
// the host, and nothing to be repaired.
func TestNewsAreNoDifference(t *testing.T) {
	ctx := t.Context()
	etcd := testutil.StartEtcd(t, testutil.EtcdOptions{})
	info := fakenet
	info.Name = "shynet"
	var drvs []*shy
	var cs []*libcnm.NetworkController
	for i := range 2 {
		f := newFixture(t, fmt.Sprintf("node%d", i+1), libcnm.WithEtcd(etcd.Config()))
		d := &shy{linkless{drivertest.NewFake(drivertest.FakeConfig{Host: f.host, Info: info})}, atomic.Bool{}, make(chan struct{})}
		drvs, cs = append(drvs, d), append(cs, f.open(t, libcnm.WithDriver(d)))
	}
	n, err := cs[0].NewNetwork(ctx, info.Name, "blue")
	must(t, err)
	must(t, newEndpoint(t, n, "ep1").Join(ctx, newSandbox(t, cs[0], "container")))

	drvs[0].refuse.Store(true)
	must(t, newEndpoint(t, mustNetwork(t, cs[1], "blue"), "ep2").Join(ctx, newSandbox(t, cs[1], "container")))
	<-drvs[0].refused
	before := cs[0].Stats()
	must(t, cs[0].Reconcile(ctx))
	if after := cs[0].Stats(); after.Repairs != before.Repairs {
		t.Errorf("%d differences were repaired: %v", after.Repairs-before.Repairs, after.ByObject)
	}
	drift, err := cs[0].Check(ctx)
	must(t, err)
	if len(drift) > 0 {
		t.Errorf("news are differences: %v", drift)
	}
}
