package drivertest

import (
	"bytes"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

func cloneNetwork(n drivers.Network) drivers.Network {
	n.Subnets = slices.Clone(n.Subnets)
	n.Options = bytes.Clone(n.Options)
	return n
}

func cloneEndpoint(ep drivers.Endpoint) drivers.Endpoint {
	ep.Addrs = slices.Clone(ep.Addrs)
	return ep
}

func clonePeer(p drivers.Peer) drivers.Peer {
	p.Addrs = slices.Clone(p.Addrs)
	return p
}

func cloneEach[T any](in []T, clone func(T) T) []T {
	if in == nil {
		return nil
	}
	out := make([]T, len(in))
	for i, v := range in {
		out[i] = clone(v)
	}
	return out
}
