package libcnm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ipam"
	"github.com/libcnm/libcnm/store"
)

// Endpoint is a handle on an endpoint: a sandbox's attachment to one network. Its name and addresses are its own from
// CreateEndpoint to Delete, joined or not.
type Endpoint struct {
	network *Network
	id      drivers.EndpointID
	name    string

	mu   sync.Mutex // guards last
	last *stored[endpointRecord]
}

// EndpointInfo describes an endpoint. The last five fields are zero for one that is not joined; Interface, MTU and
// Gateway also when it is joined on another node.
type EndpointInfo struct {
	Addresses []netip.Prefix   // with the length of their subnets; none for drivers without addresses
	MAC       net.HardwareAddr // nil for drivers without addresses
	Aliases   []string
	Gateway   []netip.Addr // the network's first hops, at most one of each family
	MTU       int          // of the interface, in bytes
	Interface string       // in the sandbox; empty for drivers that make none
	Node      string       // where it is joined
	NodeLost  bool         // the lease of Node has ended: it is dead or cut off. See NetworkController.Release
	Sandbox   string       // the ID of the sandbox it is joined to
}

func (n *Network) endpoint(s *stored[endpointRecord]) *Endpoint {
	return &Endpoint{network: n, id: s.value.ID, name: s.value.Name, last: s}
}

// ID returns the endpoint's identity: 32 hexadecimal digits, never reused.
func (e *Endpoint) ID() string { return string(e.id) }

// Name returns the name the endpoint was made with.
func (e *Endpoint) Name() string { return e.name }

// Network returns the network that the endpoint belongs to.
func (e *Endpoint) Network() *Network { return e.network }

// Info returns what this node knows of the endpoint, without asking a store: the present state when it is joined here,
// else that of the last call that read or changed it through this handle.
func (e *Endpoint) Info() EndpointInfo {
	_, a := e.network.c.state.attached(e.id)
	rec := a.ep
	if rec == nil {
		rec = &e.snapshot().value
	}
	info := EndpointInfo{
		Addresses: slices.Clone(rec.Addrs), MAC: rec.MAC.HardwareAddr(), Aliases: slices.Clone(rec.Aliases),
	}
	// What this handle remembers of a join here is over if the host does not have it: another handle left.
	if j := rec.Join; j != nil && (a.ep != nil || j.Node != e.network.c.node.Name) {
		info.Node, info.Sandbox = j.Node, j.Sandbox
		info.NodeLost = j.Node != e.network.c.node.Name && e.network.c.peers.lost(j.Node)
	}
	if a.ready {
		info.Interface, info.MTU, info.Gateway = a.made.Interface, a.made.MTU, slices.Clone(a.made.Gateways)
	}
	return info
}

func (e *Endpoint) snapshot() *stored[endpointRecord] {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func (e *Endpoint) remember(s *stored[endpointRecord]) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.rev() > e.last.rev() {
		e.last = s
	}
}

// refresh reads the endpoint's record.
func (e *Endpoint) refresh(ctx context.Context) (*stored[endpointRecord], error) {
	s, err := e.network.readEndpoint(ctx, e.id)
	if err != nil {
		return nil, err
	}
	e.remember(s)
	return s, nil
}

// Delete removes the endpoint and frees its name and addresses, in one transaction. One that is joined is ErrInUse,
// unless WithForce is given.
func (e *Endpoint) Delete(ctx context.Context, opts ...DeleteOption) (err error) {
	defer wrap(&err, "delete endpoint", e.name)
	exit, err := e.network.c.enter()
	if err != nil {
		return err
	}
	defer exit()
	var cfg deleteConfig
	if err := apply(&cfg, opts); err != nil {
		return err
	}
	release, err := e.network.c.queue.Lock(ctx, endpointTurn(e.id))
	if err != nil {
		return err
	}
	defer release()
	if err := e.network.c.settle(ctx, e); err != nil {
		return err
	}
	if cfg.force {
		if a, _ := e.network.c.state.attached(e.id); a != nil {
			if err := e.network.c.leave(ctx, e, a); err != nil {
				return err
			}
		}
	}
	return e.unrecord(ctx, cfg.force)
}

// unrecord takes the endpoint and its claims out of the store.
func (e *Endpoint) unrecord(ctx context.Context, force bool) error {
	n := e.network
	for attempt := 0; ; attempt++ {
		s, err := e.refresh(ctx)
		if err != nil {
			return err
		}
		ep := &s.value
		if ep.Join != nil && !force {
			return fmt.Errorf("it is joined to sandbox %s on node %s: %w", ep.Join.Sandbox, ep.Join.Node, ErrInUse)
		}
		var b batch
		b.deleteEndpoint(s)
		alloc := n.c.allocs.known(ep.Network)
		var forgotten []ipam.Claim
		if alloc != nil && attempt == 0 {
			forgotten = b.prune(ep.Network, alloc)
		}
		if b.err != nil {
			return b.err
		}
		rev, err := n.store().Commit(ctx, b.guards, b.ops...)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil || alloc == nil {
			return err
		}
		return alloc.freed(ep.addresses(), forgotten, rev)
	}
}

// deleteEndpoint adds to a commit that the endpoint is gone, with all that is its own.
func (b *batch) deleteEndpoint(s *stored[endpointRecord]) {
	g, err := s.unchanged()
	if err != nil {
		b.err = err
		return
	}
	ep := &s.value
	b.guard(g)
	b.op(store.Delete(keyEndpoint(ep.Network, ep.ID)))
	b.op(store.Delete(keyEndpointName(ep.Network, ep.Name)))
	if !ep.MAC.IsZero() {
		b.op(store.Delete(keyMAC(ep.Network, ep.MAC)))
	}
	if ep.Join != nil {
		b.op(store.Delete(keyMember(ep.Join.Node, ep.Network, ep.ID)))
	}
	b.free(ep.Network, ep.addresses())
}
