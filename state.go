package libcnm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/store"
)

// hostState is what should be true of this host: which networks are in use here, which sandboxes exist, and which
// endpoints are joined to them. It is built from the stores by New and follows every call; drivers are synced to it.
type hostState struct {
	mu          sync.Mutex // guards everything below, and the fields of what is below where they say so
	networks    map[drivers.NetworkID]*activeNetwork
	sandboxes   map[string]*Sandbox
	byContainer map[string]*Sandbox
	endpoints   map[drivers.EndpointID]*attachment
	lost        []*attachment                      // to be taken out of their sandboxes
	doubts      map[drivers.EndpointID]*Endpoint   // of whose records the latest commit had no answer
	postponed   map[drivers.EndpointID]*attachment // whose interfaces New could not make
}

// activeNetwork is a network that a driver has been told of.
type activeNetwork struct {
	rec     *networkRecord
	host    *driverHost
	members *membership // nil for networks that no other node shares
}

// attachment is an endpoint joined, or being joined, to a sandbox of this host.
// While it is in hostState, all but the first three fields are guarded by hostState.mu; copies are read freely.
type attachment struct {
	id      drivers.EndpointID
	network *Network
	sandbox *Sandbox
	ep      *endpointRecord // with Join set; never changed, only replaced
	rev     store.Rev
	made    drivers.Attachment // valid once ready
	ready   bool
	wanted  bool // the driver has been told, or New will tell it: changed only within the driver's gate
}

// stored is the endpoint's record as this host knows it.
func (a *attachment) stored() *stored[endpointRecord] {
	return &stored[endpointRecord]{value: *a.ep, raw: store.Record{Key: keyEndpoint(a.ep.Network, a.ep.ID), Rev: a.rev}}
}

// driverHost is a driver with what orders calls to it.
type driverHost struct {
	drivers.Driver
	info drivers.Info
	// gate is held in part by every Apply and Remove, and whole by Sync, which deletes what it does not know of.
	gate *semaphore.Weighted
	used bool // guarded by hostState.mu once New has returned: it may have something on this host
	// notFit says why the driver could not be brought in order by New; nil once it is. Guarded by hostState.mu.
	notFit  error
	remains remains
}

const gateWidth = 1 << 30

func newDriverHost(d drivers.Driver) *driverHost {
	return &driverHost{Driver: d, info: d.Info(), gate: semaphore.NewWeighted(gateWidth)}
}

func newHostState() *hostState {
	return &hostState{
		networks:    make(map[drivers.NetworkID]*activeNetwork),
		sandboxes:   make(map[string]*Sandbox),
		byContainer: make(map[string]*Sandbox),
		endpoints:   make(map[drivers.EndpointID]*attachment),
		doubts:      make(map[drivers.EndpointID]*Endpoint),
		postponed:   make(map[drivers.EndpointID]*attachment),
	}
}

// reserve chooses a slot and interface name in the sandbox and makes the attachment known.
func (s *hostState) reserve(sb *Sandbox, n *Network, ep *endpointRecord, cfg *joinConfig) (*attachment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandboxes[sb.rec.ID] != sb || sb.leaving {
		return nil, fmt.Errorf("sandbox of container %s is deleted: %w", sb.rec.ContainerID, ErrNotFound)
	}
	slots := make(map[int]bool)
	names := make(map[string]bool)
	for _, a := range s.lockedOf(sb) {
		slots[a.ep.Join.Slot] = true
		names[a.ep.Join.Interface] = true
	}
	join := &joinRecord{
		Sandbox: sb.rec.ID, Interface: cfg.ifname, Priority: cfg.priority, Sysctls: cfg.sysctls,
	}
	if join.Interface != "" && names[join.Interface] {
		return nil, fmt.Errorf("interface %s of container %s: %w", join.Interface, sb.rec.ContainerID, ErrExists)
	}
	for slots[join.Slot] || join.Interface == "" && names[ethName(join.Slot)] {
		join.Slot++
	}
	if join.Interface == "" {
		join.Interface = ethName(join.Slot)
	}
	a := &attachment{id: ep.ID, network: n, sandbox: sb, ep: ep.withJoin(join)}
	s.lockedAttach(a)
	return a, nil
}

func (s *hostState) lockedAttach(a *attachment) {
	s.endpoints[a.id] = a
	a.sandbox.joined[a.id] = a
}

func ethName(slot int) string { return "eth" + strconv.Itoa(slot) }

// wants reports whether the interface with that alias should exist.
func (s *hostState) wants(alias string) bool {
	owner, ours := link.ParseOwner(alias)
	if !ours {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case owner.Endpoint != "":
		a := s.endpoints[drivers.EndpointID(owner.Endpoint)]
		return a != nil && a.ready
	case owner.Network != "":
		return s.networks[drivers.NetworkID(owner.Network)] != nil
	}
	return true
}

// setWanted makes the endpoint part of what its driver should have, or not, and returns a copy. It is for a caller
// within the driver's gate: a Sync must not see what the driver is only about to be told.
func (s *hostState) setWanted(a *attachment, wanted bool) attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.wanted = wanted
	return *a
}

// unready takes an attachment's part out of the sandbox's routes and files. It is for the holder of the sandbox's turn.
func (s *hostState) unready(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.ready = false
	delete(s.postponed, a.id)
}

// markLost notes an attachment that the store does not have any more.
func (s *hostState) markLost(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = append(s.lost, a)
}

// takeLost returns what markLost noted.
func (s *hostState) takeLost() []*attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost
	s.lost = nil
	return lost
}

// forget removes an attachment.
func (s *hostState) forget(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.endpoints[a.id] == a {
		delete(s.endpoints, a.id)
		delete(a.sandbox.joined, a.id)
		delete(s.postponed, a.id)
	}
}

// settle records that the attachment's join was committed and, when made is not nil, that its interface stands.
func (s *hostState) settle(a *attachment, ep *endpointRecord, rev store.Rev, made *drivers.Attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.ep, a.rev = ep, rev
	if made != nil {
		a.made, a.ready = *made, true
	}
}

// endpointsIn returns the endpoints of the network that are joined, or being joined, here.
func (s *hostState) endpointsIn(id drivers.NetworkID) []drivers.EndpointID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []drivers.EndpointID
	for _, a := range s.endpoints {
		if a.ep.Network == id {
			list = append(list, a.id)
		}
	}
	return list
}

// uses reports whether an endpoint of the network is joined, or being joined, here.
func (s *hostState) uses(id drivers.NetworkID) bool {
	return len(s.endpointsIn(id)) > 0
}

// attached returns a copy of what is known of an endpoint that is joined here, or nil.
func (s *hostState) attached(id drivers.EndpointID) (*attachment, attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.endpoints[id]
	if a == nil {
		return nil, attachment{}
	}
	return a, *a
}

// current returns the attachment of an endpoint that is joined here, or nil. Its fields are read through attached.
func (s *hostState) current(id drivers.EndpointID) *attachment {
	a, _ := s.attached(id)
	return a
}

// activeNetworks returns the networks that drivers have been told of.
func (s *hostState) activeNetworks() []*activeNetwork {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.networks), func(a, b *activeNetwork) int { return cmp.Compare(a.rec.ID, b.rec.ID) })
}

// of returns copies of the attachments of a sandbox in the order of their slots.
func (s *hostState) of(sb *Sandbox) []attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []attachment
	for _, a := range s.lockedOf(sb) {
		list = append(list, *a)
	}
	return list
}

func (s *hostState) lockedOf(sb *Sandbox) []*attachment {
	return slices.SortedFunc(maps.Values(sb.joined), func(a, b *attachment) int {
		return cmp.Compare(a.ep.Join.Slot, b.ep.Join.Slot)
	})
}

// addSandbox makes a sandbox known.
func (s *hostState) addSandbox(sb *Sandbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sandboxes[sb.rec.ID] = sb
	s.byContainer[sb.rec.ContainerID] = sb
}

// dropSandbox forgets a sandbox.
func (s *hostState) dropSandbox(sb *Sandbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sandboxes, sb.rec.ID)
	delete(s.byContainer, sb.rec.ContainerID)
}

// setLeaving keeps endpoints from joining the sandbox, or lets them again. It reports whether the sandbox exists.
func (s *hostState) setLeaving(sb *Sandbox, leaving bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sb.leaving = leaving
	return s.sandboxes[sb.rec.ID] == sb
}

// stays reports whether the sandbox exists and nobody is deleting it.
func (s *hostState) stays(sb *Sandbox) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sandboxes[sb.rec.ID] == sb && !sb.leaving
}

// sandbox finds a sandbox by its ID or, if that is empty, by its container.
func (s *hostState) sandbox(id, container string) (*Sandbox, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sb, ok := s.sandboxes[id]
	if id == "" {
		sb, ok = s.byContainer[container]
	}
	return sb, ok
}

func (s *hostState) allSandboxes() []*Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.sandboxes), func(a, b *Sandbox) int {
		return cmp.Compare(a.rec.ContainerID, b.rec.ContainerID)
	})
}

// desired returns everything the driver should have on this host.
func (s *hostState) desired(h *driverHost) []drivers.NetworkState {
	s.mu.Lock()
	defer s.mu.Unlock()
	byID := make(map[drivers.NetworkID]*drivers.NetworkState)
	var list []*drivers.NetworkState
	for id, n := range s.networks {
		if n.host != h {
			continue
		}
		st := &drivers.NetworkState{Network: n.rec.driverNetwork()}
		if n.members != nil {
			st.Peers, st.Members = n.members.snapshot()
		}
		byID[id] = st
		list = append(list, st)
	}
	for _, a := range s.endpoints {
		if st := byID[a.ep.Network]; st != nil && a.wanted {
			st.Endpoints = append(st.Endpoints, a.driverEndpoint())
		}
	}
	slices.SortFunc(list, func(a, b *drivers.NetworkState) int { return cmp.Compare(a.Network.ID, b.Network.ID) })
	out := make([]drivers.NetworkState, 0, len(list))
	for _, st := range list {
		slices.SortFunc(st.Endpoints, func(a, b drivers.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
		out = append(out, *st)
	}
	return out
}

// driverEndpoint is the part of an attachment that drivers see.
func (a *attachment) driverEndpoint() drivers.Endpoint {
	return drivers.Endpoint{
		ID: a.ep.ID, Network: a.ep.Network, MAC: a.ep.MAC, Addrs: slices.Clone(a.ep.Addrs),
		NetNS: a.sandbox.rec.NetNS, Interface: a.ep.Join.Interface, Generation: uint64(a.rev),
	}
}
