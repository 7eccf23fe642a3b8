package drivertest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/libcnm/libcnm/drivers"
)

// FakeHost is a machine that fakes program. It outlives them, as a kernel outlives the processes that configure it.
// All methods are safe for concurrent use.
type FakeHost struct {
	mu       sync.Mutex // guards all fields below
	networks map[fakeKey]*fakeNetwork
	open     map[*fake]struct{}
}

// fakeKey carries the owner mark: the driver's name.
type fakeKey struct {
	driver  string
	network drivers.NetworkID
}

// NewFakeHost makes an empty host.
func NewFakeHost() *FakeHost {
	return &FakeHost{networks: map[fakeKey]*fakeNetwork{}, open: map[*fake]struct{}{}}
}

// Dump renders what the named driver has on the host, one object a line, sorted; empty when it has nothing.
func (h *FakeHost) Dump(driver string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for key, n := range h.networks {
		if key.driver != driver {
			continue
		}
		for object, value := range n.objects() {
			lines = append(lines, fmt.Sprintf("network %s: %s: %s\n", key.network, object, value))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// Lose empties the host, as a reboot or a restarted switch does, and tells every open fake the reason.
func (h *FakeHost) Lose(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.networks)
	for f := range h.open {
		select {
		case f.events <- reason:
		default: // one event is waiting already, and one is enough for a Sync
		}
	}
}

// LoseEndpoint removes one endpoint behind the back of the drivers, without an event.
func (h *FakeHost) LoseEndpoint(id drivers.EndpointID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.networks {
		delete(n.endpoints, id)
	}
}

func (h *FakeHost) register(f *fake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[f] = struct{}{}
}

func (h *FakeHost) unregister(f *fake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, f)
	close(f.events)
}

// change runs fn on a network under the host's mutex and reports whether there is one.
func (h *FakeHost) change(key fakeKey, fn func(*fakeNetwork)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.networks[key]
	if ok {
		fn(n)
	}
	return ok
}

func (h *FakeHost) putNetwork(key fakeKey, spec drivers.Network) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.networks[key]
	if !ok {
		n = newFakeNetwork()
		h.networks[key] = n
	}
	n.spec = cloneNetwork(spec)
}

func (h *FakeHost) deleteNetwork(key fakeKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.networks, key)
}

func (h *FakeHost) network(key fakeKey) (spec drivers.Network, ok bool) {
	ok = h.change(key, func(n *fakeNetwork) { spec = cloneNetwork(n.spec) })
	return spec, ok
}

// putEndpoint makes the host's half, or with attached both. An endpoint that is there as wanted stays whole.
func (h *FakeHost) putEndpoint(key fakeKey, ep drivers.Endpoint, attached bool) bool {
	return h.change(key, func(n *fakeNetwork) {
		have, ok := n.endpoints[ep.ID]
		same := ok && have.describe() == fakeEndpoint{spec: ep, attached: have.attached}.describe()
		n.endpoints[ep.ID] = fakeEndpoint{spec: cloneEndpoint(ep), attached: attached || same && have.attached}
	})
}

func (h *FakeHost) deleteEndpoint(key fakeKey, id drivers.EndpointID) {
	h.change(key, func(n *fakeNetwork) { delete(n.endpoints, id) })
}

func (h *FakeHost) putPeers(key fakeKey, u drivers.PeerUpdate) (known bool, err error) {
	known = h.change(key, func(n *fakeNetwork) {
		n.update(u)
		err = n.refusals()
	})
	return known, err
}

func (h *FakeHost) setPeers(key fakeKey, want *fakeNetwork) {
	h.change(key, func(n *fakeNetwork) {
		n.peers = maps.Clone(want.peers) // Peer.Addrs is never written to
		n.members = slices.Clone(want.members)
	})
}

func (h *FakeHost) networkIDs(driver string) []drivers.NetworkID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []drivers.NetworkID
	for key := range h.networks {
		if key.driver == driver {
			ids = append(ids, key.network)
		}
	}
	slices.Sort(ids)
	return ids
}

// snapshot copies a network; nil when it is absent. The specs inside are shared and never written to.
func (h *FakeHost) snapshot(key fakeKey) *fakeNetwork {
	var c *fakeNetwork
	h.change(key, func(n *fakeNetwork) {
		c = &fakeNetwork{
			spec:      n.spec,
			endpoints: maps.Clone(n.endpoints),
			peers:     maps.Clone(n.peers),
			members:   n.members,
		}
	})
	return c
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
