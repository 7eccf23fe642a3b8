package libcnm_test

import (
	"testing"

	"github.com/libcnm/libcnm"
)

// TestExhaustedAtOneMoment: of two addresses each was taken when the node looked at it, but never both at a time. The
// node learns of the first by its own commit, and of the second by a listing that is older.
func TestExhaustedAtOneMoment(t *testing.T) {
	ctx := t.Context()
	cs, _, shared := newFaultyNodes(t, 2)
	n, err := cs[0].NewNetwork(ctx, "fakenet", "web", libcnm.WithSubnet(prefix("10.80.0.0/29"), libcnm.SubnetRange(prefix("10.80.0.2/31"))))
	must(t, err)
	other, err := cs[1].NetworkByName(ctx, "web")
	must(t, err)
	create := func(n *libcnm.Network, name, address string) *libcnm.Endpoint {
		t.Helper()
		ep, err := n.CreateEndpoint(ctx, name, libcnm.WithIP(addr(address)))
		must(t, err)
		return ep
	}
	create(n, "first", "10.80.0.2")
	create(n, "second", "10.80.0.3")
	remove := func(name string) {
		t.Helper()
		ep, err := other.EndpointByName(ctx, name)
		must(t, err)
		must(t, ep.Delete(ctx))
	}
	shared.miss()
	remove("first")
	shared.afterList("claims/"+n.ID(), func() {
		remove("second")
		create(n, "third", "10.80.0.2")
	})
	ep, err := n.CreateEndpoint(ctx, "fourth")
	must(t, err)
	if got := ep.Info().Addresses[0].Addr(); got != addr("10.80.0.3") {
		t.Errorf("got %s, want 10.80.0.3", got)
	}
	_, err = n.CreateEndpoint(ctx, "fifth")
	wantErr(t, err, libcnm.ErrExhausted, "10.80.0.2/31")
}
