package ovsvxlan

import (
	"context"
	"fmt"
	"net/netip"
)

// PeerUpdate changes what is known of a network's endpoints on other nodes.
type PeerUpdate struct {
	Full    bool         // Set is complete: peers not in it are gone
	Set     []Peer       // added or replaced, unless older than what is known
	Del     []PeerRef    // removed, unless a newer generation is known
	Members []netip.Addr // tunnel addresses of the other nodes with endpoints in the network; always complete
}

// PeerRef names one generation of a peer.
type PeerRef struct {
	ID         string
	Generation uint64
}

// ApplyPeers makes endpoints on other nodes reachable, or unreachable.
func (s *Switch) ApplyPeers(ctx context.Context, network string, u PeerUpdate) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var objects []Object
	err := s.change(func(m *desired) error {
		var err error
		if objects, err = m.setPeers(network, u); err != nil {
			return err
		}
		return s.lockedProgram(m, objects)
	})
	if err != nil {
		return fmt.Errorf("apply peers of network %s: %w", network, err)
	}
	s.updateProbes()
	if err := s.flows.apply(ctx, objects); err != nil {
		return fmt.Errorf("apply peers of network %s: %w", network, err)
	}
	return nil
}

// setPeers changes nothing unless all of u is valid.
func (m *desired) setPeers(network string, u PeerUpdate) ([]Object, error) {
	n, err := m.network(network)
	if err != nil {
		return nil, err
	}
	for _, p := range u.Set {
		if err := n.spec.validateMember(p.Network, p.MAC, p.Addrs); err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.ID, err)
		}
		if err := validVTEP(p.VTEP); err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.ID, err)
		}
	}
	objects, err := m.setMembers(n, u.Members)
	if err != nil {
		return nil, err
	}
	if u.Full {
		return append(objects, n.claims.ReplacePeers(u.Set)...), nil
	}
	for _, p := range u.Set {
		objects = append(objects, n.claims.SetPeer(p)...)
	}
	for _, d := range u.Del {
		objects = append(objects, n.claims.DeletePeer(d.ID, d.Generation)...)
	}
	return distinct(objects), nil
}

// vteps returns every node some network has a member on.
func (m *desired) vteps() map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{}
	for _, n := range m.networks {
		for _, v := range n.members {
			out[v] = struct{}{}
		}
	}
	return out
}
