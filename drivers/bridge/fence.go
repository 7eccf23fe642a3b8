package bridge

import (
	"context"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// fences keep the network apart from the driver's others when the firewall does not, see link.Fence.
func (nw network) fences() []link.Fence {
	var list []link.Fence
	for _, s := range nw.Subnets {
		if s.Gateway.IsValid() { // else the host has no route there, or one to somewhere else
			list = append(list, link.FencesFor(nw.bridge.Name, s.Prefix)...)
		}
	}
	return list
}

// ownFence reports whether the driver made it: none but this driver forbids destinations.
func ownFence(f link.Fence) bool { return f.Dev == "" || strings.HasPrefix(f.Dev, bridgePrefix) }

// fence makes the fences of one network.
func (d *Driver) fence(ctx context.Context, nw network) error {
	return d.host.Fence(ctx, func(f link.Fence) bool { return f.Dev == nw.bridge.Name }, nw.fences())
}

// unfence removes the fences of a network, which this process may not know.
func (d *Driver) unfence(ctx context.Context, id drivers.NetworkID) error {
	have, err := d.host.Fences(ctx)
	if err != nil {
		return err
	}
	own := func(f link.Fence) bool {
		return f.Dev == bridgeName(id) || f.Dev == "" && slices.Contains(have, link.Fence{Dev: bridgeName(id), Dst: f.Dst})
	}
	return d.host.Fence(ctx, own, nil)
}
