package libcnm

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ipam"
	"github.com/libcnm/libcnm/store"
)

// planSubnets picks or checks the subnets of a network and adds to the commit that they are taken from now on.
func (c *NetworkController) planSubnets(ctx context.Context, st store.Store, p *networkPlan, b *batch) error {
	known, err := readSubnets(ctx, st)
	if err != nil {
		return err
	}
	taken, err := c.takenSubnets(ctx, known, p)
	if err != nil {
		return err
	}
	if p.pick {
		given, err := c.pickSubnets(p.cfg, taken)
		if err != nil {
			return err
		}
		if p.rec.Subnets, err = completeSubnets(given, p.cfg.gateways); err != nil {
			return err
		}
	} else if !p.host.info.Overlap {
		for _, s := range p.rec.Subnets {
			if err := ipam.Conflict(s.Prefix, taken); err != nil {
				return err
			}
		}
	}
	entry := subnetsEntry{Network: p.rec.ID, Name: p.rec.Name, Overlap: p.host.info.Overlap}
	for _, s := range p.rec.Subnets {
		entry.Subnets = append(entry.Subnets, s.Prefix)
	}
	return b.rewriteSubnets(known, append(slices.Clone(known.value.Networks), entry))
}

// takenSubnets lists what the network's subnets must not overlap. A network whose driver keeps it apart may overlap
// anything when it is told its subnets, and nothing when they are picked for it.
func (c *NetworkController) takenSubnets(ctx context.Context, known *stored[subnetsRecord], p *networkPlan) ([]ipam.Taken, error) {
	if p.host.info.Overlap && !p.pick {
		return nil, nil
	}
	var taken []ipam.Taken
	for _, e := range known.value.Networks {
		if e.Overlap && !p.pick {
			continue
		}
		for _, prefix := range e.Subnets {
			taken = append(taken, ipam.Taken{Prefix: prefix, Culprit: "network " + e.Name})
		}
	}
	routes, err := c.links.Routes(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		taken = append(taken, ipam.Taken{Prefix: r.Dst, Culprit: "host route dev " + r.Dev})
	}
	if c.tunnels() {
		self := netip.PrefixFrom(c.node.VTEP, c.node.VTEP.BitLen())
		taken = append(taken, ipam.Taken{Prefix: self, Culprit: "underlay address of node " + c.node.Name})
	}
	return taken, nil
}

// pickSubnets takes one subnet of each wanted family from the address pools.
func (c *NetworkController) pickSubnets(cfg *networkConfig, taken []ipam.Taken) ([]subnetRecord, error) {
	var list []subnetRecord
	for _, family := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		pools := poolsFor(c.pools, family, cfg.size4)
		if family == ipam.IPv6 && cfg.noIPv6 || len(pools) == 0 {
			continue
		}
		prefix, err := ipam.Pick(pools, taken, family)
		if err != nil {
			return nil, err
		}
		list = append(list, subnetRecord{Prefix: prefix})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no address pool is configured for the network's families: %w", ErrExhausted)
	}
	return list, nil
}

// poolsFor returns the pools of a family, with the size of IPv4 subnets changed to size4 where that is not 0 and fits.
func poolsFor(pools []AddressPool, family ipam.Family, size4 int) []AddressPool {
	var list []AddressPool
	for _, pool := range pools {
		if ipam.FamilyOf(pool.Base) != family {
			continue
		}
		if family == ipam.IPv4 && size4 != 0 {
			if size4 < pool.Base.Bits() {
				continue
			}
			pool.Size = size4
		}
		list = append(list, pool)
	}
	return list
}

// defaultPools are ipam's, with an IPv6 prefix of this data directory's own.
func (c *NetworkController) defaultPools() ([]AddressPool, error) {
	var seed [5]byte
	if len(c.node.Instance) < 2*len(seed) {
		return nil, fmt.Errorf("identity of this data directory %q: %w", c.node.Instance, ErrInvalid)
	}
	if _, err := hex.Decode(seed[:], []byte(c.node.Instance[:2*len(seed)])); err != nil {
		return nil, fmt.Errorf("identity of this data directory: %w: %w", err, ErrInvalid)
	}
	return ipam.DefaultPools(seed), nil
}

// readSubnets reads the record of subnets; an absent one is empty.
func readSubnets(ctx context.Context, st store.Store) (*stored[subnetsRecord], error) {
	raw, err := st.Get(ctx, keySubnets)
	if errors.Is(err, ErrNotFound) {
		return &stored[subnetsRecord]{}, nil
	}
	if err != nil {
		return nil, err
	}
	return decode[subnetsRecord](raw)
}

// rewriteSubnets adds the new record to the commit, guarded against other changes of it.
func (b *batch) rewriteSubnets(known *stored[subnetsRecord], networks []subnetsEntry) error {
	if known.raw.Key == "" {
		b.guard(store.Absent(keySubnets))
	} else {
		g, err := known.unchanged()
		if err != nil {
			return err
		}
		b.guard(g)
	}
	b.put(put(keySubnets, subnetsRecord{Version: recordVersion, Networks: networks}))
	return nil
}

// withoutSubnets adds to the commit that a network's subnets are free.
func (b *batch) withoutSubnets(ctx context.Context, st store.Store, id drivers.NetworkID) error {
	known, err := readSubnets(ctx, st)
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(known.value.Networks), func(e subnetsEntry) bool { return e.Network == id })
	return b.rewriteSubnets(known, rest)
}
