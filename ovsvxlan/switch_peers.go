package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/internal/errdefs"
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

// ApplyPeers makes endpoints on other nodes reachable, or unreachable. A peer or member that cannot be reached from this
// node does not keep the others from being: it is left out, also if it was reachable before, and the error is ErrInvalid
// and names it.
func (s *Switch) ApplyPeers(ctx context.Context, network string, u PeerUpdate) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var (
		objects []Object
		refused []refusal
	)
	err := s.change(func(m *desired) error {
		var err error
		if objects, refused, err = m.setPeers(network, u); err != nil {
			return err
		}
		return s.lockedProgram(m, objects)
	})
	if err != nil {
		return fmt.Errorf("apply peers of network %s: %w", network, err)
	}
	if slices.Contains(objects, Object{KindMembers, network, ""}) {
		s.updateProbes()
	}
	if err := errors.Join(s.flows.apply(ctx, objects), reasons(refused)); err != nil {
		return fmt.Errorf("apply peers of network %s: %w", network, err)
	}
	return nil
}

// refusal is an object of a desired state that cannot be, and why. The error names it too.
type refusal struct {
	object string
	err    error
}

func reasons(refused []refusal) error {
	errs := make([]error, len(refused))
	for i, r := range refused {
		errs[i] = r.err
	}
	return errors.Join(errs...)
}

// setPeers leaves out what is refused.
func (m *desired) setPeers(network string, u PeerUpdate) (objects []Object, refused []refusal, err error) {
	n, err := m.network(network)
	if err != nil {
		return nil, nil, err
	}
	members, refused := m.setMembers(n, u.Members)
	if members || u.Full { // a full update tries again what the switch has rejected
		objects = append(objects, Object{KindMembers, n.spec.ID, ""})
	}
	set := make([]Peer, 0, len(u.Set))
	gone := slices.Clone(u.Del)
	for _, p := range u.Set {
		err := n.spec.validateMember(p.Network, p.MAC, p.Addrs)
		if err == nil {
			err = m.checkVTEP(p.VTEP)
		}
		if err == nil {
			set = append(set, p)
			continue
		}
		refused = append(refused, refusal{"peer " + p.ID, fmt.Errorf("peer %s: %w", p.ID, err)})
		gone = append(gone, PeerRef{p.ID, p.Generation})
		if old, known := n.claims.peers[p.ID]; known && old.generation > p.Generation {
			set = append(set, old.want) // p is late
		}
	}
	if u.Full {
		return append(objects, n.claims.ReplacePeers(set)...), refused, nil
	}
	for _, p := range set {
		objects = append(objects, n.claims.SetPeer(p)...)
	}
	for _, d := range gone {
		objects = append(objects, n.claims.DeletePeer(d.ID, d.Generation)...)
	}
	return distinct(objects), refused, nil
}

// setMembers replaces the other nodes of a network, but for those refused. It reports whether they are others than before:
// with most updates they are not, and their program is as long as they are many.
func (m *desired) setMembers(n *networkModel, vteps []netip.Addr) (changed bool, refused []refusal) {
	members := make([]netip.Addr, 0, len(vteps))
	for _, v := range vteps {
		if err := m.checkVTEP(v); err != nil {
			refused = append(refused, refusal{"member " + v.String(), fmt.Errorf("member of network %s: %w", n.spec.ID, err)})
			continue
		}
		members = append(members, v)
	}
	changed = !slices.Equal(n.members, members)
	n.members = members
	return changed, refused
}

// checkVTEP reports whether a tunnel from this node can reach addr: all tunnels of a node have one source. A tunnel to the
// node itself would bring its own frames back as a peer's.
func (m *desired) checkVTEP(addr netip.Addr) error {
	if err := validVTEP(addr); err != nil {
		return err
	}
	if addr == m.vtep {
		return fmt.Errorf("tunnel address %s: it is this node's own: %w", addr, errdefs.ErrInvalid)
	}
	if m.vtep.IsValid() && m.vtep.Is4() != addr.Is4() {
		return fmt.Errorf("tunnel address %s: of another family than this node's %s: %w", addr, m.vtep, errdefs.ErrInvalid)
	}
	return nil
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
