package drivertest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

// fakeNetwork is one network as it stands on a FakeHost.
type fakeNetwork struct {
	spec      drivers.Network
	endpoints map[drivers.EndpointID]fakeEndpoint
	peers     map[drivers.EndpointID]drivers.Peer
	members   []drivers.Member
	refused   map[drivers.EndpointID]error // peers of the last update that were left out
}

// fakeEndpoint is an endpoint of which at least the host's half exists.
type fakeEndpoint struct {
	spec     drivers.Endpoint
	attached bool // the sandbox's half exists too
}

func newFakeNetwork() *fakeNetwork {
	return &fakeNetwork{
		endpoints: map[drivers.EndpointID]fakeEndpoint{},
		peers:     map[drivers.EndpointID]drivers.Peer{},
	}
}

// wantedNetworks renders a desired state as the host would hold it.
func wantedNetworks(want []drivers.NetworkState) map[drivers.NetworkID]*fakeNetwork {
	out := make(map[drivers.NetworkID]*fakeNetwork, len(want))
	for _, s := range want {
		s = clone(s)
		n := newFakeNetwork()
		n.spec = s.Network
		for _, ep := range s.Endpoints {
			n.endpoints[ep.ID] = fakeEndpoint{spec: ep, attached: true}
		}
		n.update(drivers.PeerUpdate{Full: true, Set: s.Peers, Members: s.Members})
		out[s.Network.ID] = n
	}
	return out
}

// update changes the peers by the rules of drivers.PeerUpdate.
func (n *fakeNetwork) update(u drivers.PeerUpdate) {
	n.refused = map[drivers.EndpointID]error{}
	u.Del = slices.Clone(u.Del)
	u.Set = slices.DeleteFunc(slices.Clone(u.Set), func(p drivers.Peer) bool {
		err := n.admits(p)
		if err != nil {
			n.refused[p.Endpoint] = err
			u.Del = append(u.Del, drivers.PeerRef{Endpoint: p.Endpoint, Generation: p.Generation})
		}
		return err != nil
	})
	if u.Full {
		keep := make(map[drivers.EndpointID]bool, len(u.Set))
		for _, p := range u.Set {
			keep[p.Endpoint] = true
		}
		for id := range n.peers {
			if !keep[id] && n.refused[id] == nil { // one that is refused may be late
				delete(n.peers, id)
			}
		}
	}
	for _, p := range u.Set {
		if have, ok := n.peers[p.Endpoint]; !ok || p.Generation >= have.Generation {
			n.peers[p.Endpoint] = clonePeer(p)
		}
	}
	for _, d := range u.Del {
		if have, ok := n.peers[d.Endpoint]; ok && d.Generation >= have.Generation {
			delete(n.peers, d.Endpoint)
		}
	}
	n.members = slices.Clone(u.Members)
}

// admits reports whether a peer could be in the network.
func (n *fakeNetwork) admits(p drivers.Peer) error {
	if !p.VTEP.IsValid() || p.VTEP.IsUnspecified() {
		return fmt.Errorf("peer %s: tunnel address %s: %w", p.Endpoint, p.VTEP, drivers.ErrInvalid)
	}
	for _, a := range p.Addrs {
		if !slices.ContainsFunc(n.spec.Subnets, func(s drivers.Subnet) bool { return s.Prefix.Contains(a) }) {
			return fmt.Errorf("peer %s: address %s: in no subnet: %w", p.Endpoint, a, drivers.ErrInvalid)
		}
	}
	return nil
}

// refusals joins why peers were left out.
func (n *fakeNetwork) refusals() error {
	var errs []error
	for _, id := range sortedKeys(n.refused) {
		errs = append(errs, n.refused[id])
	}
	return errors.Join(errs...)
}

func (n *fakeNetwork) describe() string {
	return fmt.Sprintf("subnets %v, internal %t, MTU %d, VNI %d, options %s",
		n.spec.Subnets, n.spec.Internal, n.spec.MTU, n.spec.VNI, n.spec.Options)
}

func (ep fakeEndpoint) describe() string {
	return fmt.Sprintf("%s %v in %s as %s, generation %d",
		ep.spec.MAC, ep.spec.Addrs, ep.spec.NetNS, ep.spec.Interface, ep.spec.Generation)
}

// objects names everything in the network, as Dump and Check show it.
func (n *fakeNetwork) objects() map[string]string {
	out := map[string]string{"network": n.describe()}
	for id, ep := range n.endpoints {
		out[fmt.Sprintf("endpoint %s link", id)] = ep.describe()
		if ep.attached {
			out[fmt.Sprintf("endpoint %s interface", id)] = ep.describe()
		}
	}
	for id, p := range n.peers {
		out[fmt.Sprintf("peer %s", id)] = fmt.Sprintf("generation %d at %s", p.Generation, p.VTEP)
	}
	for _, m := range n.members {
		out[fmt.Sprintf("member %s", m.Node)] = fmt.Sprintf("%s, MTU %d", m.VTEP, m.MTU)
	}
	for what, c := range n.owners() {
		out[fmt.Sprintf("forward %s", what)] = fmt.Sprintf("to %s for %s", c.place, c.endpoint)
	}
	return out
}

// claim is an endpoint's demand, here or on another node, for one address or MAC.
type claim struct {
	endpoint   drivers.EndpointID
	generation uint64
	rank       int // 0: here, 1: on another node
	place      string
}

// before reports whether c is to be preferred to o.
func (c claim) before(o claim) bool {
	return cmp.Or(cmp.Compare(o.generation, c.generation), cmp.Compare(c.rank, o.rank), cmp.Compare(c.endpoint, o.endpoint)) < 0
}

// owners settles who has each address and MAC: the highest generation, and of equal ones this host's own.
func (n *fakeNetwork) owners() map[string]claim {
	owners := map[string]claim{}
	demand := func(what string, c claim) {
		if o, ok := owners[what]; !ok || c.before(o) {
			owners[what] = c
		}
	}
	for id, ep := range n.endpoints {
		c := claim{endpoint: id, generation: ep.spec.Generation, place: "this host"}
		demand(ep.spec.MAC.String(), c)
		for _, a := range ep.spec.Addrs {
			demand(a.Addr().String(), c)
		}
	}
	for id, p := range n.peers {
		c := claim{endpoint: id, generation: p.Generation, rank: 1, place: p.VTEP.String()}
		demand(p.MAC.String(), c)
		for _, a := range p.Addrs {
			demand(a.String(), c)
		}
	}
	return owners
}
