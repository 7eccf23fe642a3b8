package ovsvxlan

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
	"github.com/libcnm/libcnm/internal/testutil/rig"
	"github.com/libcnm/libcnm/iptables"
)

func TestMain(m *testing.M) {
	a := new(controller)
	testutil.Main(m, testutil.Agent(map[string]agent.Handler{
		"start":   agent.Handle(a.start),
		"network": agent.Handle(a.network),
		"join":    agent.Handle(a.join),
		"peers":   agent.Handle(a.peers),
		"sync":    agent.Handle(a.sync),
		"check":   agent.Handle(a.check),
		"remove":  agent.Handle(a.remove),
	}))
}

// controller stands for libcnm on one host of a rig. It runs in a process of its own, inside the host's namespaces.
type controller struct{ d *Driver }

type done struct{}

func (c *controller) start(_ context.Context, vtep netip.Addr) (_ done, err error) {
	fw, err := iptables.New(iptables.Config{})
	if err != nil {
		return done{}, err
	}
	c.d, err = New(Config{VTEP: vtep, Firewall: fw})
	return done{}, err
}

func (c *controller) network(ctx context.Context, n drivers.Network) (done, error) {
	return done{}, c.d.ApplyNetwork(ctx, n)
}

func (c *controller) join(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	if err := link.CreateNS(ep.NetNS); err != nil && !errors.Is(err, drivers.ErrExists) {
		return drivers.Attachment{}, err
	}
	a, err := c.d.ApplyEndpoint(ctx, ep)
	if err != nil {
		return drivers.Attachment{}, err
	}
	return a, rig.Configure(ctx, ep, a)
}

type peersOf struct {
	Network drivers.NetworkID
	Update  drivers.PeerUpdate
}

func (c *controller) peers(ctx context.Context, p peersOf) (done, error) {
	return done{}, c.d.ApplyPeers(ctx, p.Network, p.Update)
}

func (c *controller) sync(ctx context.Context, want []drivers.NetworkState) (done, error) {
	return done{}, c.d.Sync(ctx, want)
}

func (c *controller) check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	return c.d.Check(ctx, want)
}

// remove ends everything on the host, as a controller does whose last network goes.
func (c *controller) remove(ctx context.Context, sandboxes []string) (done, error) {
	err := c.d.Sync(ctx, nil)
	for _, path := range sandboxes {
		err = errors.Join(err, link.DeleteNS(path))
	}
	return done{}, errors.Join(err, c.d.Close())
}
