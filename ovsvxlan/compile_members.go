package ovsvxlan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/digitalocean/go-openvswitch/ovs"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// CompileMembers returns where the network's broadcasts and multicasts go: those of a local endpoint to the other local
// ones and once to each member, those from a member to the local ones only. The switch itself never sends a frame back
// to the port it came from.
func CompileMembers(base Base, n Network, m Members) (Program, error) {
	if err := m.validate(n); err != nil {
		return Program{}, fmt.Errorf("members of network %s: %w", n.ID, err)
	}
	ports, vteps := slices.Clone(m.Ports), slices.Clone(m.VTEPs)
	slices.Sort(ports)
	slices.SortFunc(vteps, netip.Addr.Compare)

	var buckets [][]ovs.Action
	for _, port := range slices.Compact(ports) {
		buckets = append(buckets, []ovs.Action{ovs.Output(int(port))})
	}
	local := len(buckets)
	for _, vtep := range slices.Compact(vteps) {
		buckets = append(buckets, append(toTunnel(n.VNI, vtep), ovs.Output(int(base.TunnelPort))))
	}
	b := newBuilder(Object{Kind: KindMembers, Network: n.ID})
	b.multicast(n, fromTunnel, buckets[:local])
	b.multicast(n, fromEndpoint, buckets)
	return b.program()
}

func (m Members) validate(n Network) error {
	if m.Network != n.ID {
		return fmt.Errorf("their network is %s: %w", m.Network, errdefs.ErrInvalid)
	}
	for _, port := range m.Ports {
		if err := validPort("endpoint", port); err != nil {
			return err
		}
	}
	for _, vtep := range m.VTEPs {
		if err := validVTEP(vtep); err != nil {
			return err
		}
	}
	return nil
}

// multicast copies every multicast frame from one kind of source into each bucket. Buckets send at once: an indirect
// way per bucket would run into the switch's limit of 4096 table look-ups for a packet.
func (b *builder) multicast(n Network, from int, buckets [][]ovs.Action) {
	// Two groups per network, so that both numbers are the network's alone: VNIs have 24 bits, group numbers 32.
	id := n.VNI<<2 | uint32(from)
	var spec strings.Builder
	spec.WriteString("type=all")
	for _, actions := range buckets {
		separator := ",bucket=actions="
		for _, a := range actions {
			text, err := a.MarshalText()
			if err != nil && b.err == nil {
				b.err = fmt.Errorf("group %d: %w", id, err)
			}
			spec.WriteString(separator)
			spec.Write(text)
			separator = ","
		}
	}
	b.groups = append(b.groups, Group{ID: id, Spec: spec.String()})
	const bit = "01:00:00:00:00:00" // set in every multicast and broadcast MAC
	b.add(TableForward, many, "", match(vni(n.VNI), source(from), ovs.DataLinkDestination(bit+"/"+bit)), toGroup(id))
}
