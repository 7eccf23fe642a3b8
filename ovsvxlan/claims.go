package ovsvxlan

import (
	"cmp"
	"net/netip"
	"slices"
)

// Claims decides, for one network, which object owns a MAC or an address that several want, so that the programs of two
// objects never share a flow. The gateway's are never anyone's; otherwise the higher generation wins, of local endpoints
// and peers alike: what moved to another node is there, even while this node has yet to remove its own. Of equal
// generations a local endpoint wins over peers, and then the lower ID. Who loses keeps the rest, and gets it back if it
// is still there when the winner goes. Order of arrival decides nothing.
//
// Each change returns the objects whose program may differ afterwards, and nothing if nothing changed. The caller
// compiles Endpoint or Peer of each again, and drops the programs of those that no longer have one. Not safe for
// concurrent use.
type Claims struct {
	network   Network
	endpoints map[string]claimed[Endpoint]
	peers     map[string]claimed[Peer]
	macs      map[MAC][]claimant
	addrs     map[netip.Addr][]claimant
}

// claimed is what an object wants, with its rank.
type claimed[T any] struct {
	claimant
	want T
}

// claimant is one object in the queue for an address.
type claimant struct {
	object     Object
	generation uint64
}

// before reports whether c is to be preferred to d.
func (c claimant) before(d claimant) bool {
	return cmp.Or(
		cmp.Compare(d.generation, c.generation),
		cmp.Compare(c.object.Kind, d.object.Kind), // KindEndpoint is before KindPeer
		cmp.Compare(c.object.ID, d.object.ID),
	) < 0
}

// NewClaims starts without endpoints and peers.
func NewClaims(n Network) *Claims {
	n.Subnets = slices.Clone(n.Subnets)
	return &Claims{
		network:   n,
		endpoints: make(map[string]claimed[Endpoint]),
		peers:     make(map[string]claimed[Peer]),
		macs:      make(map[MAC][]claimant),
		addrs:     make(map[netip.Addr][]claimant),
	}
}

// SetEndpoint adds or replaces a local endpoint.
func (c *Claims) SetEndpoint(e Endpoint) []Object {
	e.Addrs = slices.Clone(e.Addrs)
	old, known := c.endpoints[e.ID]
	if known && old.want.equal(e) {
		return nil
	}
	self := claimant{Object{KindEndpoint, c.network.ID, e.ID}, e.Generation}
	c.endpoints[e.ID] = claimed[Endpoint]{self, e}
	return c.move(old.claimant, self, old.want.MAC, old.want.Addrs, e.MAC, e.Addrs)
}

// DeleteEndpoint removes a local endpoint.
func (c *Claims) DeleteEndpoint(id string) []Object {
	old, known := c.endpoints[id]
	if !known {
		return nil
	}
	delete(c.endpoints, id)
	return c.move(old.claimant, old.claimant, old.want.MAC, old.want.Addrs, MAC{}, nil)
}

// SetPeer adds or replaces a peer, unless a newer generation of it is known.
func (c *Claims) SetPeer(p Peer) []Object {
	p.Addrs = slices.Clone(p.Addrs)
	old, known := c.peers[p.ID]
	if known && (old.generation > p.Generation || old.want.equal(p)) {
		return nil
	}
	self := claimant{Object{KindPeer, c.network.ID, p.ID}, p.Generation}
	c.peers[p.ID] = claimed[Peer]{self, p}
	return c.move(old.claimant, self, old.want.MAC, old.want.Addrs, p.MAC, p.Addrs)
}

// DeletePeer removes a peer, unless a newer generation of it than the one named is known.
func (c *Claims) DeletePeer(id string, generation uint64) []Object {
	old, known := c.peers[id]
	if !known || old.generation > generation {
		return nil
	}
	delete(c.peers, id)
	return c.move(old.claimant, old.claimant, old.want.MAC, old.want.Addrs, MAC{}, nil)
}

// ReplacePeers makes all the only peers; an older generation of a known one is ignored, as by SetPeer.
func (c *Claims) ReplacePeers(all []Peer) []Object {
	keep := make(map[string]bool, len(all))
	changed := make([]Object, 0, len(all))
	for _, p := range all {
		keep[p.ID] = true
		changed = append(changed, c.SetPeer(p)...)
	}
	for id, old := range c.peers {
		if !keep[id] {
			changed = append(changed, c.DeletePeer(id, old.generation)...)
		}
	}
	return distinct(changed)
}

// Endpoint returns a local endpoint with those of its addresses that it owns. It is false for an unknown one, and for
// one that does not own its MAC: nothing can be sent to it.
func (c *Claims) Endpoint(id string) (Endpoint, bool) {
	known, ok := c.endpoints[id]
	e := known.want
	ok = ok && c.ownsMAC(known.claimant, e.MAC)
	e.Addrs = c.owned(known.claimant, e.Addrs)
	return e, ok
}

// Peer returns a peer as Endpoint does.
func (c *Claims) Peer(id string) (Peer, bool) {
	known, ok := c.peers[id]
	p := known.want
	ok = ok && c.ownsMAC(known.claimant, p.MAC)
	p.Addrs = c.owned(known.claimant, p.Addrs)
	return p, ok
}

// peerOf returns the peer that a frame from a tunnel is from. It is false if no peer would be admitted with it.
func (c *Claims) peerOf(from sender) (Object, bool) {
	q := c.macs[from.mac]
	if len(q) == 0 || q[0].object.Kind != KindPeer {
		return Object{}, false
	}
	p, ok := c.Peer(q[0].object.ID)
	return q[0].object, ok && p.VTEP == from.vtep && slices.Contains(p.Addrs, from.addr)
}

// Objects returns every endpoint and peer, in no particular order.
func (c *Claims) Objects() []Object {
	out := make([]Object, 0, len(c.endpoints)+len(c.peers))
	for _, e := range c.endpoints {
		out = append(out, e.object)
	}
	for _, p := range c.peers {
		out = append(out, p.object)
	}
	return out
}

// move takes an object from the queues it stood in as old, if any, to those it should stand in as self. It returns the object
// and whoever comes to the head of a queue by that, or is pushed from it.
func (c *Claims) move(old, self claimant, oldMAC MAC, oldAddrs []netip.Addr, mac MAC, addrs []netip.Addr) []Object {
	changed := []Object{self.object}
	changed = append(changed, requeue(c.macs, old, self, given(oldMAC), given(mac))...)
	changed = append(changed, requeue(c.addrs, old, self, oldAddrs, addrs)...)
	return distinct(changed)
}

// given returns no MAC for the zero value: nobody queues for that.
func given(mac MAC) []MAC {
	if mac.IsZero() {
		return nil
	}
	return []MAC{mac}
}

func requeue[K comparable](queues map[K][]claimant, old, self claimant, leave, enter []K) []Object {
	heads := make(map[K]claimant) // before
	for _, key := range slices.Concat(leave, enter) {
		if q := queues[key]; len(q) > 0 {
			heads[key] = q[0]
		}
	}
	for _, key := range leave {
		queues[key] = slices.DeleteFunc(queues[key], func(x claimant) bool { return x == old })
	}
	for _, key := range enter {
		q := queues[key]
		at := slices.IndexFunc(q, self.before)
		if at < 0 {
			at = len(q)
		}
		queues[key] = slices.Insert(q, at, self)
	}
	var changed []Object
	for _, key := range slices.Concat(leave, enter) {
		q := queues[key]
		if len(q) == 0 {
			delete(queues, key)
			continue
		}
		if before, had := heads[key]; had && before.object != q[0].object {
			changed = append(changed, before.object, q[0].object)
		}
	}
	return changed
}

func (e Endpoint) equal(other Endpoint) bool {
	return e.Generation == other.Generation && e.Port == other.Port && e.MAC == other.MAC &&
		slices.Equal(e.Addrs, other.Addrs)
}

func (p Peer) equal(other Peer) bool {
	return p.Generation == other.Generation && p.VTEP == other.VTEP && p.MAC == other.MAC &&
		slices.Equal(p.Addrs, other.Addrs)
}

func (c *Claims) ownsMAC(self claimant, mac MAC) bool {
	q := c.macs[mac]
	return mac != c.network.GatewayMAC && len(q) > 0 && q[0] == self
}

func (c *Claims) owned(self claimant, addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, addr := range addrs {
		if q := c.addrs[addr]; len(q) > 0 && q[0] == self && !c.network.isGateway(addr) {
			out = append(out, addr)
		}
	}
	return out
}

// distinct returns the objects once each, in order.
func distinct(objects []Object) []Object {
	seen := make(map[Object]bool, len(objects))
	return slices.DeleteFunc(objects, func(o Object) bool {
		again := seen[o]
		seen[o] = true
		return again
	})
}
