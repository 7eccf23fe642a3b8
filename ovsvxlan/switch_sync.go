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
// Flows and ports that are right are left alone. A network that cannot be built is an error and absent; the others
// are built all the same.
func (s *Switch) Sync(ctx context.Context, want []State) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, state := range want {
		for _, e := range state.Endpoints {
			if err := s.indexDevice(e.Interface); err != nil {
				return err
			}
		}
	}
	var (
		invalid error
		freed   []uint16
	)
	err := s.change(func(m *desired) error {
		next := m.fresh()
		invalid = next.fill(want)
		freed = next.settle(m)
		programs, _, err := next.compile(next.objects())
		if err != nil {
			return err
		}
		s.want = next
		s.flows.replaceWanted(programs)
		return nil
	})
	if err != nil {
		return err
	}
	s.updateProbes()
	return errors.Join(invalid, s.sync(ctx, len(want) > 0, freed))
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
	keys := slices.AppendSeq(slices.Collect(maps.Keys(ports)), maps.Keys(s.wantRows().ports))
	slices.Sort(keys)
	return both(
		func() error { return s.flows.restore(ctx) },
		func() error { return s.ports.do(ctx, slices.Compact(keys)...) },
	)
}

// fill adds all of want. It skips what is invalid and returns why.
func (m *desired) fill(want []State) error {
	var errs []error
	for _, state := range want {
		if _, err := m.setNetwork(state.Network); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, e := range state.Endpoints {
			if _, err := m.setEndpoint(e); err != nil {
				errs = append(errs, err)
			}
		}
		for _, p := range state.Peers {
			if _, err := m.setPeers(state.Network.ID, PeerUpdate{Set: []Peer{p}}); err != nil {
				errs = append(errs, err)
			}
		}
		n := m.networks[state.Network.ID]
		if _, err := m.setMembers(n, state.Members); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
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
	used := m.endpointPorts()
	maps.DeleteFunc(m.numbers, func(device string, _ uint32) bool { _, ok := used[device]; return !ok })
	return freed
}

// Check names every difference between the bridge and want, and changes nothing.
func (s *Switch) Check(ctx context.Context, want []State) ([]Difference, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var (
		next *desired
		rows wantRows
	)
	err := s.change(func(m *desired) error {
		next = m.fresh()
		err := next.fill(want)
		next.settle(m)
		rows = s.lockedWantRows(next)
		return err
	})
	if err != nil {
		return nil, err
	}
	diffs, err := s.rows.check(ctx, rows)
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
	if epoch, _ := s.watch.current(); epoch == 0 {
		return append(diffs, Difference{Object: "bridge " + s.cfg.Bridge, Want: "answers OpenFlow", Have: "no answer"}), nil
	}
	have, err := s.flows.dump(ctx)
	if err != nil {
		return nil, fmt.Errorf("check bridge %s: %w", s.cfg.Bridge, err)
	}
	return append(diffs, Diff(have, program).Differences()...), nil
}
