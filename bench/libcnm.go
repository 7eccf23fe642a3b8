package main

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"

	"github.com/libcnm/libcnm"
)

// cnm is libcnm as its users call it: defaults, the bridge driver with its firewall, the store on disk.
type cnm struct {
	ctrl *libcnm.NetworkController
	net  *libcnm.Network
}

func openLibcnm(ctx context.Context, s setup) (_ contender, err error) {
	ctrl, err := libcnm.New(ctx, libcnm.WithNode(s.Node, s.Underlay), libcnm.WithDataDir(filepath.Join(s.DataDir, "libcnm")))
	if err != nil {
		return nil, err
	}
	// The controller may be one that goes on where an earlier one ended.
	n, err := ctrl.NetworkByName(ctx, "bench")
	if errors.Is(err, libcnm.ErrNotFound) {
		n, err = ctrl.NewNetwork(ctx, "bridge", "bench", libcnm.WithSubnet(netip.MustParsePrefix(subnetText)))
	}
	if err != nil {
		return nil, errors.Join(err, ctrl.Close())
	}
	return &cnm{ctrl: ctrl, net: n}, nil
}

func (c *cnm) Up(ctx context.Context, name string) error {
	sb, err := c.ctrl.NewSandbox(ctx, name)
	if err != nil {
		return err
	}
	ep, err := c.net.CreateEndpoint(ctx, name)
	if err != nil {
		return err
	}
	return ep.Join(ctx, sb)
}

func (c *cnm) Down(ctx context.Context, name string) error {
	sb, err := c.ctrl.SandboxByContainer(name)
	if err != nil {
		return err
	}
	for _, ep := range sb.Endpoints() {
		if err := ep.Leave(ctx, sb); err != nil {
			return err
		}
		if err := ep.Delete(ctx); err != nil {
			return err
		}
	}
	return sb.Delete(ctx)
}

func (c *cnm) Close() error { return c.ctrl.Close() }
