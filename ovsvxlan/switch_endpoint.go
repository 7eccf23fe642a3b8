package ovsvxlan

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// ApplyEndpoint connects a local endpoint by its host device. When it returns the endpoint's flows are in place and
// ovs-vswitchd has opened the device.
func (s *Switch) ApplyEndpoint(ctx context.Context, e LocalEndpoint) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	index, err := s.cfg.DeviceIndex(ctx, e.Interface)
	if err != nil {
		return fmt.Errorf("apply endpoint %s: %w", e.ID, err)
	}
	var (
		objects []Object
		keys    = []string{e.Interface}
	)
	err = s.change(func(m *desired) error {
		if n := m.networks[e.Network]; n != nil {
			if old, ok := n.endpoints[e.ID]; ok && old.Interface != e.Interface {
				keys = append(keys, old.Interface)
			}
		}
		var err error
		if objects, err = m.setEndpoint(e); err != nil {
			return err
		}
		s.indexes[e.Interface] = index
		return s.lockedProgram(m, objects)
	})
	if err != nil {
		return err
	}
	if err := both(
		func() error { return s.flows.apply(ctx, objects) },
		func() error { return s.ports.do(ctx, keys...) },
	); err != nil {
		return fmt.Errorf("apply endpoint %s: %w", e.ID, err)
	}
	return nil
}

// RemoveEndpoint disconnects a local endpoint and forgets its connections. Its device may be gone already.
func (s *Switch) RemoveEndpoint(ctx context.Context, network, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var (
		e       LocalEndpoint
		objects []Object
		known   bool
		zone    uint16
	)
	err := s.change(func(m *desired) error {
		zone = m.zones[network]
		e, objects, known = m.dropEndpoint(network, id)
		delete(s.indexes, e.Interface)
		return s.lockedProgram(m, objects)
	})
	if err != nil {
		return err
	}
	ports := []string{e.Interface}
	if !known { // perhaps it is an earlier process's, or a call's that was cut short
		if ports, e.Addrs, err = s.leftovers(ctx, id); err != nil {
			return fmt.Errorf("remove endpoint %s: %w", id, err)
		}
	}
	if err := s.removeFlows(ctx, objects, zone, e.Addrs); err != nil {
		return fmt.Errorf("remove endpoint %s: %w", id, err)
	}
	// The row goes last: it is what a call cut short is continued from.
	if err := s.ports.do(ctx, ports...); err != nil {
		return fmt.Errorf("remove endpoint %s: %w", id, err)
	}
	return nil
}

// leftovers returns the ports and addresses that the database has for an endpoint.
func (s *Switch) leftovers(ctx context.Context, id string) (ports []string, addrs []netip.Addr, err error) {
	rows, err := s.rows.portsOf(ctx, endpointKey, id)
	for name, ids := range rows {
		ports = append(ports, name)
		for text := range strings.FieldsSeq(ids[addrsKey]) {
			if addr, err := netip.ParseAddr(text); err == nil { // else somebody wrote it who is not us
				addrs = append(addrs, addr)
			}
		}
	}
	return ports, addrs, err
}

// removeFlows takes objects off the bridge, and then the connections of addrs, which would outlive their flows.
func (s *Switch) removeFlows(ctx context.Context, objects []Object, zone uint16, addrs []netip.Addr) error {
	mine, err := s.rows.mine(ctx)
	if err != nil || !mine { // without a bridge there is nothing to remove
		return err
	}
	if err := s.flows.apply(ctx, objects); err != nil {
		return err
	}
	for _, addr := range addrs {
		for _, match := range connectionsOf(addr) {
			if err := s.flushZone(ctx, zone, match); err != nil {
				return err
			}
		}
	}
	return nil
}

// connectionsOf returns what selects the connections that addr began. OVS 3.1.0 with the netdev datapath dies of a flush
// that meets an ICMPv6 entry, so those of IPv6 are named by protocol (TCP, UDP, SCTP); ICMPv6 ones end by themselves
// within a minute.
func connectionsOf(addr netip.Addr) []string {
	if addr.Is4() {
		return []string{"ct_nw_src=" + addr.String()}
	}
	var list []string
	for _, protocol := range []int{6, 17, 132} {
		list = append(list, fmt.Sprintf("ct_ipv6_src=%s,ct_nw_proto=%d", addr, protocol))
	}
	return list
}
