package veths

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Port is an endpoint with what its network's driver decides about its pair.
type Port struct {
	Network  drivers.Network
	Endpoint drivers.Endpoint
	Link     link.Veth // names, marks and the sandbox's end follow from the endpoint
}

func (h Host) veth(p Port, ns *link.NS) link.Veth {
	v := p.Link
	v.Name, v.Alias = Name(p.Network.ID, p.Endpoint.ID), h.EndpointMark(p.Network.ID, p.Endpoint.ID)
	v.DisableIPv6 = true // a port of a bridge has no business of its own with IP
	v.Peer.Name, v.Peer.NS, v.Peer.MAC = p.Endpoint.Interface, ns, p.Endpoint.MAC.HardwareAddr()
	return v
}

// Ensure makes the endpoint's pair as it should be.
func (h Host) Ensure(ctx context.Context, p Port) error {
	if err := p.Network.ValidateEndpoint(p.Endpoint); err != nil {
		return err
	}
	if err := h.ensure(ctx, p); err != nil {
		return fmt.Errorf("endpoint %s: %w", p.Endpoint.ID, err)
	}
	return nil
}

func (h Host) ensure(ctx context.Context, p Port) error {
	if err := link.CheckName(p.Endpoint.Interface); err != nil {
		return err
	}
	ns, err := link.OpenNS(p.Endpoint.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	return h.EnsureVeth(ctx, h.veth(p, ns))
}

// EnsureAll makes many pairs. What goes wrong with one does not keep the others from being made. It makes two attempts:
// endpoints may have changed places, and then one's interface stands where another's belongs. The first attempt takes
// away everything that is in a wrong place, even where it cannot put anything yet.
func (h Host) EnsureAll(ctx context.Context, ports []Port) error {
	var mu sync.Mutex // guards blocked
	var blocked []Port
	err := Each(ports, func(p Port) error {
		err := h.Ensure(ctx, p)
		if errors.Is(err, drivers.ErrConflict) {
			mu.Lock()
			defer mu.Unlock()
			blocked = append(blocked, p)
			return nil
		}
		return err
	})
	return errors.Join(err, Each(blocked, func(p Port) error { return h.Ensure(ctx, p) }))
}

// Remove deletes both ends. The sandbox's may be gone already.
func (h Host) Remove(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	if err := h.DeleteLink(ctx, Name(n, ep), h.EndpointMark(n, ep)); err != nil {
		return fmt.Errorf("endpoint %s: %w", ep, err)
	}
	return nil
}

// Check names every way in which the pair is not as it should be. listed is what List has returned just now.
func (h Host) Check(ctx context.Context, p Port, listed []link.Link) ([]drivers.Drift, error) {
	found, err := h.check(ctx, p, listed)
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", p.Endpoint.ID, err)
	}
	return h.Drifts(drivers.Drift{Network: p.Network.ID, Endpoint: p.Endpoint.ID}, found), nil
}

func (h Host) check(ctx context.Context, p Port, listed []link.Link) ([]link.Difference, error) {
	ns, err := link.OpenNS(p.Endpoint.NetNS)
	if errors.Is(err, drivers.ErrNotFound) || errors.Is(err, drivers.ErrInvalid) {
		return []link.Difference{{Object: "network namespace " + p.Endpoint.NetNS, Want: "present"}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return h.CheckVethAmong(ctx, h.veth(p, ns), listed)
}

// parallel bounds the links that are worked on at once. Most of the time of each is spent waiting in the kernel.
const parallel = 8

// Each calls fn for all items, several at a time, and joins the errors.
func Each[T any](items []T, fn func(T) error) error {
	errs := make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, item := range items {
		group.Go(func() error {
			errs[i] = fn(item)
			return nil
		})
	}
	return errors.Join(append(errs, group.Wait())...)
}
