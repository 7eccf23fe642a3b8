package libcnm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ipam"
	"github.com/libcnm/libcnm/store"
)

// heldPause is how long a call waits to see whether another gives up one of the last addresses: about one commit.
const heldPause = 5 * time.Millisecond

// CreateEndpoint makes an endpoint in the network and gives it its addresses: one transaction of the store, and nothing
// else. It touches no kernel object; Join does.
//
// The name is unique in the network, and so are addresses and MAC (ErrExists). A subnet without a free address is
// ErrExhausted; the text says its size and how many are used. An address that was just freed is given out again only
// when no other is left.
func (n *Network) CreateEndpoint(ctx context.Context, name string, opts ...EndpointOption) (_ *Endpoint, err error) {
	defer wrap(&err, "create endpoint", name)
	exit, err := n.c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	if err := checkName("endpoint name", name); err != nil {
		return nil, err
	}
	var cfg endpointConfig
	if err := apply(&cfg, opts); err != nil {
		return nil, err
	}
	info := n.host.info
	switch {
	case !info.Addressing && (len(cfg.addrs) > 0 || !cfg.mac.IsZero()):
		return nil, fmt.Errorf("endpoints of driver %s have no addresses: %w", info.Name, ErrUnsupported)
	case !info.Ports && len(cfg.ports) > 0:
		return nil, fmt.Errorf("driver %s publishes no ports: %w", info.Name, ErrUnsupported)
	}
	s, err := n.recordEndpoint(ctx, name, &cfg)
	if err != nil {
		return nil, err
	}
	return n.endpoint(s), nil
}

// recordEndpoint commits a new endpoint, choosing again as long as others take what it chose.
func (n *Network) recordEndpoint(ctx context.Context, name string, cfg *endpointConfig) (*stored[endpointRecord], error) {
	alloc, err := n.c.allocs.of(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := n.readWanted(ctx, alloc, cfg.addrs); err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		picks, err := alloc.choose(cfg.addrs, attempt)
		if full := (*ipam.ExhaustedError)(nil); errors.As(err, &full) {
			if full.Held == 0 {
				if err := alloc.confirmExhausted(ctx, n, cfg.addrs); err != nil {
					// Who repeats the call that got the last address is told that it had succeeded.
					return nil, cmp.Or(n.refuseName(ctx, name), err)
				}
			}
			// Other calls are trying or have freed the last addresses.
			pause(ctx, heldPause)
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			continue
		}
		if errors.Is(err, ErrExists) {
			return nil, n.nameOwner(ctx, cfg.addrs, err)
		}
		if err != nil {
			return nil, err
		}
		s, err := n.tryEndpoint(ctx, name, cfg, picks)
		if err == nil {
			for _, p := range picks {
				if err := alloc.learn(ipam.Claim{Addr: p.Addr, State: ipam.Owned, Rev: int64(s.rev())}); err != nil {
					return nil, err
				}
			}
			return s, nil
		}
		alloc.release(picks)
		if !errors.Is(err, ErrConflict) {
			return nil, err
		}
		if err := n.explainEndpointConflict(ctx, alloc, name, cfg, picks); err != nil {
			return nil, err
		}
	}
}

// readWanted brings the view up to date on addresses that were asked for, so that none is refused for having been in
// use a moment ago.
func (n *Network) readWanted(ctx context.Context, alloc *allocator, addrs []netip.Addr) error {
	for _, addr := range addrs {
		if err := n.relearn(ctx, alloc, addr); err != nil {
			return err
		}
	}
	return nil
}

// relearn reads one claim into the view.
func (n *Network) relearn(ctx context.Context, alloc *allocator, addr netip.Addr) error {
	raw, err := n.store().Get(ctx, keyClaim(n.rec.ID, addr))
	if errors.Is(err, ErrNotFound) {
		// An absent claim has no revision to learn it by. If the view has one, only a listing corrects it.
		if alloc.sees(addr) {
			return alloc.reload(ctx, n)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return alloc.learn(n.readClaim(raw))
}

// tryEndpoint commits the endpoint once.
func (n *Network) tryEndpoint(ctx context.Context, name string, cfg *endpointConfig, picks []pick) (*stored[endpointRecord], error) {
	ep := endpointRecord{
		Version: recordVersion, ID: drivers.EndpointID(newID()), Network: n.rec.ID, Name: name,
		MAC: cfg.mac, Aliases: cfg.aliases, Fresh: true,
	}
	for _, p := range picks {
		ep.Fresh = ep.Fresh && p.Fresh
		ep.Addrs = append(ep.Addrs, netip.PrefixFrom(p.Addr, n.rec.Subnets[p.pool].Prefix.Bits()))
	}
	if n.host.info.Addressing && ep.MAC.IsZero() {
		ep.MAC = ipam.MAC(string(ep.ID))
	}
	var b batch
	b.guard(store.Exists(keyNetwork(n.rec.ID)))
	b.create(put(keyEndpoint(n.rec.ID, ep.ID), ep))
	b.create(ref(keyEndpointName(n.rec.ID, name), string(ep.ID)))
	if !ep.MAC.IsZero() {
		b.create(ref(keyMAC(n.rec.ID, ep.MAC), string(ep.ID)))
	}
	b.claim(n.rec.ID, ep.ID, picks)
	if b.err != nil {
		return nil, b.err
	}
	rev, err := n.store().Commit(ctx, b.guards, b.ops...)
	if err != nil {
		return nil, err
	}
	return &stored[endpointRecord]{value: ep, raw: store.Record{Key: keyEndpoint(n.rec.ID, ep.ID), Rev: rev}}, nil
}

// explainEndpointConflict finds what stood in the way of a commit; nil when another try can succeed.
func (n *Network) explainEndpointConflict(ctx context.Context, alloc *allocator, name string, cfg *endpointConfig, picks []pick) error {
	st := n.store()
	if _, err := st.Get(ctx, keyNetwork(n.rec.ID)); errors.Is(err, ErrNotFound) {
		return fmt.Errorf("network %s was deleted: %w", n.rec.Name, ErrNotFound)
	} else if err != nil {
		return err
	}
	if err := n.refuseName(ctx, name); err != nil {
		return err
	}
	if !cfg.mac.IsZero() {
		switch id, err := follow(ctx, st, keyMAC(n.rec.ID, cfg.mac)); {
		case err == nil:
			return fmt.Errorf("MAC address %s belongs to endpoint %s: %w", cfg.mac, n.describeEndpoint(ctx, id), ErrExists)
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	for _, p := range picks {
		if err := n.relearn(ctx, alloc, p.Addr); err != nil {
			return err
		}
		if p.static {
			if err := n.refuseTaken(ctx, p.Addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseName refuses the name of an endpoint that is there.
func (n *Network) refuseName(ctx context.Context, name string) error {
	switch _, err := n.store().Get(ctx, keyEndpointName(n.rec.ID, name)); {
	case err == nil:
		return fmt.Errorf("an endpoint of that name in network %s: %w", n.rec.Name, ErrExists)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	return nil
}

// nameOwner replaces the refusal of an address that was asked for by one that names its owner.
func (n *Network) nameOwner(ctx context.Context, addrs []netip.Addr, refusal error) error {
	for _, addr := range addrs {
		if err := n.refuseTaken(ctx, addr); err != nil {
			return err
		}
	}
	return refusal
}

// refuseTaken names the owner of an address that was asked for.
func (n *Network) refuseTaken(ctx context.Context, addr netip.Addr) error {
	raw, err := n.store().Get(ctx, keyClaim(n.rec.ID, addr))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	claim, err := decode[claimRecord](raw)
	if err != nil {
		return err
	}
	if owner := claim.value.Endpoint; owner != "" {
		return fmt.Errorf("address %s belongs to endpoint %s: %w", addr, n.describeEndpoint(ctx, string(owner)), ErrExists)
	}
	return nil
}

// describeEndpoint names an endpoint in an error text: by its name if that can be read.
func (n *Network) describeEndpoint(ctx context.Context, id string) string {
	s, err := n.readEndpoint(ctx, drivers.EndpointID(id))
	if err != nil {
		return id
	}
	return s.value.Name
}
