package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

// ApplyNetwork makes the network exist on this node, or changes it. Its Zone and transit addresses are the Switch's
// to choose; what the caller sets there is ignored.
func (s *Switch) ApplyNetwork(ctx context.Context, spec Network) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var (
		objects []Object
		added   bool
	)
	err := s.change(func(m *desired) error {
		_, known := m.networks[spec.ID]
		var err error
		if objects, err = m.setNetwork(spec); err != nil {
			return err
		}
		added = !known
		return s.lockedProgram(m, objects)
	})
	if err != nil {
		return err
	}
	if err = s.ensureBridge(ctx); err == nil {
		err = s.flows.apply(ctx, objects)
	}
	if err != nil {
		err = fmt.Errorf("apply network %s: %w", spec.ID, err)
		if added && errors.Is(err, errdefs.ErrConflict) { // the bridge is somebody else's: it must not stay wanted
			return errors.Join(err, s.forget(spec.ID))
		}
	}
	return err
}

// forget takes a network that never came to be out of the desired state.
func (s *Switch) forget(id string) error {
	return s.change(func(m *desired) error {
		objects := m.dropNetwork(id)
		delete(m.zones, id)
		return s.lockedProgram(m, objects)
	})
}

// RemoveNetwork removes the network and everything in it; with the last one, the bridge.
func (s *Switch) RemoveNetwork(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var (
		objects []Object
		ports   []string
		zone    uint16
		known   bool
	)
	err := s.change(func(m *desired) error {
		if n := m.networks[id]; n != nil {
			for _, e := range n.endpoints {
				ports = append(ports, e.Interface)
				delete(s.indexes, e.Interface)
			}
		}
		zone, known = m.zones[id]
		objects = m.dropNetwork(id)
		return s.lockedProgram(m, objects)
	})
	if err != nil {
		return err
	}
	left, err := s.rows.portsOf(ctx, networkKey, id) // also those of an earlier process, or of a call that failed
	if err != nil {
		return fmt.Errorf("remove network %s: %w", id, err)
	}
	if ports = slices.AppendSeq(ports, maps.Keys(left)); !known && len(ports) == 0 {
		// A call that was cut short may have got as far as all but the bridge.
		if err := s.ports.do(ctx, bridgeKey); err != nil {
			return fmt.Errorf("remove network %s: %w", id, err)
		}
		return nil
	}
	slices.Sort(ports)
	if err := s.removeNetwork(ctx, id, objects, slices.Compact(ports), zone); err != nil {
		return fmt.Errorf("remove network %s: %w", id, err)
	}
	return nil
}

func (s *Switch) removeNetwork(ctx context.Context, id string, objects []Object, ports []string, zone uint16) error {
	if mine, err := s.rows.mine(ctx); err != nil {
		return err
	} else if mine { // else there are no flows to remove
		if err := s.flows.apply(ctx, objects); err != nil {
			return err
		}
		// The next network with this number must not inherit connections.
		if err := s.flushZone(ctx, zone); err != nil {
			return err
		}
	}
	if err := s.change(func(m *desired) error {
		if m.networks[id] == nil { // not applied again meanwhile
			delete(m.zones, id)
		}
		return nil
	}); err != nil {
		return err
	}
	s.updateProbes()
	return s.ports.do(ctx, append(ports, bridgeKey)...)
}

// ensureBridge makes the bridge and its own ports, and chooses the datapath.
func (s *Switch) ensureBridge(ctx context.Context) error {
	if err := s.checkVTEP(ctx); err != nil {
		return err
	}
	if err := s.indexGateway(ctx); err != nil {
		return err
	}
	err := s.ports.do(ctx, s.basePorts()...)
	if !errors.Is(err, errdefs.ErrUnsupported) || s.cfg.Datapath != DatapathAuto {
		return err
	}
	s.mu.Lock()
	fallback := s.datapath == DatapathSystem
	s.datapath = DatapathNetdev
	s.mu.Unlock()
	if !fallback {
		return err
	}
	s.log.Warn("no kernel datapath, using netdev", "bridge", s.cfg.Bridge, "err", err)
	if err := s.checkVTEP(ctx); err != nil {
		return err
	}
	return s.ports.do(ctx, s.basePorts()...)
}

// checkVTEP makes sure that tunnels can leave: the netdev datapath sends them by its own routing table, which knows
// only addresses on ports of its own bridges.
func (s *Switch) checkVTEP(ctx context.Context) error {
	device, err := deviceOf(s.cfg)
	if err != nil {
		return err
	}
	if s.Datapath() != DatapathNetdev {
		return nil
	}
	bridge, datapath, err := s.rows.bridgeOf(ctx, device)
	if err != nil {
		return err
	}
	if datapath != string(DatapathNetdev) {
		return fmt.Errorf("VTEP address %s is on %s, which is not a port of an Open vSwitch bridge with datapath_type netdev "+
			"(its bridge: %q): datapath netdev cannot send tunnels from there: %w", s.cfg.VTEP, device, bridge, errdefs.ErrUnsupported)
	}
	return nil
}

// deviceOf finds the network device that has the VTEP address.
func deviceOf(cfg Config) (string, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("find VTEP address %s: %w: %w", cfg.VTEP, err, errdefs.ErrUnavailable)
	}
	for _, d := range devices {
		addrs, err := d.Addrs()
		if err != nil {
			return "", fmt.Errorf("find VTEP address %s: device %s: %w: %w", cfg.VTEP, d.Name, err, errdefs.ErrUnavailable)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(cfg.VTEP.AsSlice()) {
				return d.Name, nil
			}
		}
	}
	return "", fmt.Errorf("VTEP address %s: no network device of this host has it: %w", cfg.VTEP, errdefs.ErrUnavailable)
}

// indexGateway notes which device now bears the name of the gateway's port. An absent one is left to ovs-vswitchd to report.
func (s *Switch) indexGateway(ctx context.Context) error {
	name := s.cfg.Gateway.Interface
	if name == "" {
		return nil
	}
	index, err := s.cfg.DeviceIndex(ctx, name)
	if err != nil {
		return err
	}
	return s.change(func(*desired) error {
		s.indexes[name] = index
		return nil
	})
}

// lockedIndex notes the devices of all ports that m wants, out of those that there are.
func (s *Switch) lockedIndex(m *desired, devices map[string]int) {
	gateway := s.cfg.Gateway.Interface
	s.indexes = map[string]int{gateway: devices[gateway]}
	for name := range m.devices {
		s.indexes[name] = devices[name]
	}
}

// deviceIndexes are those of the devices that there are now, by name.
func deviceIndexes() (map[string]int, error) {
	devices, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w: %w", err, errdefs.ErrUnavailable)
	}
	indexes := make(map[string]int, len(devices))
	for _, d := range devices {
		indexes[d.Name] = d.Index
	}
	return indexes, nil
}

// flushZone forgets the connections of a network, or those that match among them.
func (s *Switch) flushZone(ctx context.Context, zone uint16, match ...string) error {
	if zone == 0 { // the host's own
		return nil
	}
	args := append([]string{fmt.Sprintf("zone=%d", zone)}, match...)
	return step.Do("flush connections", func() error {
		_, err := control(ctx, s.cfg.RunDir, "dpctl/flush-conntrack", args...)
		return err
	})
}

// Transit returns the addresses that stand for a network towards the host, one per family it has egress in.
func (s *Switch) Transit(network string) []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.want.networks[network]
	if n == nil {
		return nil
	}
	return slices.DeleteFunc([]netip.Addr{n.spec.Transit4, n.spec.Transit6}, func(a netip.Addr) bool { return !a.IsValid() })
}
