package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// State is everything that should be true of one network on this node.
type State struct {
	Network   Network
	Endpoints []LocalEndpoint
	Peers     []Peer
	Members   []netip.Addr
}

// Sync makes the bridge equal to want: it repairs ports, flows and groups, and removes what is ours and not wanted.
// Flows and ports that are right are left alone. What cannot be is left out and an error, as by ApplyPeers; the rest is made
// all the same.
func (s *Switch) Sync(ctx context.Context, want []State) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	devices, err := deviceIndexes()
	if err != nil {
		return err
	}
	var (
		refused []refusal
		freed   []uint16
	)
	err = s.change(func(m *desired) error {
		next := m.fresh()
		refused = next.fill(want)
		freed = next.settle(m)
		programs, _, err := next.compile(next.objects())
		if err != nil {
			return err
		}
		s.want = next
		s.lockedIndex(next, devices)
		s.flows.replaceWanted(programs)
		s.held.look()
		return nil
	})
	if err != nil {
		return err
	}
	s.updateProbes()
	return errors.Join(reasons(refused), s.sync(ctx, len(want) > 0, freed))
}

func (s *Switch) sync(ctx context.Context, wanted bool, freed []uint16) error {
	ports, err := s.rows.portsOf(ctx, markKey, "")
	if err != nil {
		return err
	}
	for _, zone := range freed {
		if err := s.flushZone(ctx, zone); err != nil {
			return err
		}
	}
	if !wanted {
		return s.ports.do(ctx, bridgeKey)
	}
	if err := s.ensureBridge(ctx); err != nil {
		return err
	}
	keys := slices.AppendSeq(slices.Collect(maps.Keys(ports)), maps.Keys(s.wantRows(nil).ports))
	slices.Sort(keys)
	return both(
		func() error { return s.flows.restore(ctx) },
		func() error { return s.ports.do(ctx, slices.Compact(keys)...) },
	)
}

// fill adds all of want. It leaves out and returns what is refused.
func (m *desired) fill(want []State) []refusal {
	var refused []refusal
	for _, state := range want {
		if _, err := m.setNetwork(state.Network); err != nil {
			refused = append(refused, refusal{"network " + state.Network.ID, err})
			continue
		}
		for _, e := range state.Endpoints {
			if _, err := m.setEndpoint(e); err != nil {
				refused = append(refused, refusal{"endpoint " + e.ID, err})
			}
		}
		u := PeerUpdate{Full: true, Set: state.Peers, Members: state.Members}
		_, more, err := m.setPeers(state.Network.ID, u)
		if err != nil {
			more = append(more, refusal{"peers of network " + state.Network.ID, err})
		}
		refused = append(refused, more...)
	}
	return refused
}

// settle gives up numbers that nothing in m has, and returns the freed zones of before.
func (m *desired) settle(before *desired) []uint16 {
	var freed []uint16
	for id, zone := range before.zones {
		if m.networks[id] == nil {
			freed = append(freed, zone)
		}
	}
	maps.DeleteFunc(m.zones, func(id string, _ uint16) bool { return m.networks[id] == nil })
	for device := range m.numbers.byDevice {
		if _, used := m.devices[device]; !used {
			m.numbers.release(device)
		}
	}
	return freed
}

// Check names every difference between the bridge and want, also what of want cannot be, and changes nothing.
func (s *Switch) Check(ctx context.Context, want []State) ([]Difference, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var (
		next  *desired
		rows  wantRows
		diffs []Difference
	)
	err := s.change(func(m *desired) error {
		next = m.fresh()
		for _, r := range next.fill(want) {
			diffs = append(diffs, Difference{Object: r.object, Want: "applied", Have: r.err.Error()})
		}
		next.settle(m)
		rows = s.lockedWantRows(next)
		return nil
	})
	if err != nil {
		return nil, err
	}
	// As Sync will find them: a new process has not looked yet, and a device may be another since this one did.
	indexes, err := deviceIndexes()
	if err != nil {
		return nil, err
	}
	for name, p := range rows.ports {
		if p.kind == "" {
			p.index = indexes[name]
			rows.ports[name] = p
		}
	}
	found, err := s.rows.check(ctx, rows)
	diffs = append(diffs, found...)
	if err != nil || rows.bridge == nil {
		return diffs, err
	}
	programs, _, err := next.compile(next.objects())
	if err != nil {
		return nil, err
	}
	program, err := Merge(slices.Collect(maps.Values(programs))...)
	if err != nil {
		return nil, err
	}
	epoch, err := s.watch.settled(ctx)
	if err != nil {
		return nil, err
	}
	if epoch == 0 {
		return append(diffs, Difference{Object: "bridge " + s.cfg.Bridge, Want: "answers OpenFlow", Have: "no answer"}), nil
	}
	have, err := s.flows.dump(ctx)
	if err != nil {
		return nil, fmt.Errorf("check bridge %s: %w", s.cfg.Bridge, err)
	}
	return append(diffs, Diff(have, program).Differences()...), nil
}
