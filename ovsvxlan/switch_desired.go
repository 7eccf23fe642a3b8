package ovsvxlan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// A network's number on this node is its conntrack zone and selects its transit addresses. A /18 has room for 16381:
// all but its network, host and broadcast addresses.
const (
	minZone = 1
	maxZone = 1<<14 - 3
)

// LocalEndpoint is an endpoint with the host's network device that leads to it.
type LocalEndpoint struct {
	Endpoint         // Port is chosen by the Switch
	Interface string // the bridge's end of its veth pair; the device must exist
}

// desired is the desired state of one bridge and the numbers given out for it. It does no I/O and has no lock.
type desired struct {
	base     Base
	vtep     netip.Addr // this node's tunnel address; zero: none is of the wrong family
	networks map[string]*networkModel
	zones    map[string]uint16 // by network, also of networks a previous process knew
	numbers  portNumbers
	devices  map[string]endpointRef // whose a device is
}

// endpointRef names a local endpoint.
type endpointRef struct{ network, id string }

type networkModel struct {
	spec      Network
	claims    *Claims
	endpoints map[string]LocalEndpoint
	members   []netip.Addr
}

func newDesired(base Base, zones map[string]uint16, numbers map[string]uint32) *desired {
	return &desired{
		base: base, networks: map[string]*networkModel{}, zones: zones, numbers: newPortNumbers(numbers),
		devices: map[string]endpointRef{},
	}
}

// fresh is without networks that would give the same numbers to the same things.
func (m *desired) fresh() *desired {
	f := newDesired(m.base, maps.Clone(m.zones), m.numbers.byDevice)
	f.vtep, f.numbers.next = m.vtep, m.numbers.next
	return f
}

func (m *desired) network(id string) (*networkModel, error) {
	n := m.networks[id]
	if n == nil {
		return nil, fmt.Errorf("network %s: not applied: %w", id, errdefs.ErrNotFound)
	}
	return n, nil
}

// setNetwork adds or changes a network and returns the objects to compile.
func (m *desired) setNetwork(spec Network) ([]Object, error) {
	for id, other := range m.networks {
		if id != spec.ID && other.spec.VNI == spec.VNI {
			return nil, fmt.Errorf("network %s: VNI %d belongs to network %s: %w", spec.ID, spec.VNI, id, errdefs.ErrConflict)
		}
	}
	zone, err := m.zone(spec.ID)
	if err != nil {
		return nil, err
	}
	spec.Subnets = slices.Clone(spec.Subnets)
	spec.Zone = zone
	spec.Transit4, spec.Transit6 = netip.Addr{}, netip.Addr{}
	if !spec.Internal && m.base.GatewayPort != 0 {
		spec.Transit4, spec.Transit6 = transitAddr(m.base.TransitPrefix4, zone), transitAddr(m.base.TransitPrefix6, zone)
	}
	if err := spec.Validate(m.base); err != nil {
		return nil, err
	}
	n := m.networks[spec.ID]
	if n == nil {
		n = &networkModel{claims: NewClaims(spec), endpoints: map[string]LocalEndpoint{}}
	}
	if err := n.fits(m.base, spec); err != nil {
		return nil, err
	}
	n.spec, n.claims.network = spec, spec
	m.networks[spec.ID], m.zones[spec.ID] = n, zone
	return append(n.claims.Objects(), Object{Kind: KindBase}, Object{KindNetwork, spec.ID, ""}, Object{KindMembers, spec.ID, ""}), nil
}

// fits reports whether everything in the network could be in it under another specification.
func (n *networkModel) fits(base Base, spec Network) error {
	for _, e := range n.claims.endpoints {
		if err := e.want.validate(base, spec); err != nil {
			return fmt.Errorf("network %s: endpoint %s: %w", spec.ID, e.want.ID, err)
		}
	}
	for _, p := range n.claims.peers {
		if err := spec.validateMember(p.want.Network, p.want.MAC, p.want.Addrs); err != nil {
			return fmt.Errorf("network %s: peer %s: %w", spec.ID, p.want.ID, err)
		}
	}
	return nil
}

// zone returns the network's number: the one it has, or the lowest free.
func (m *desired) zone(network string) (uint16, error) {
	if z, ok := m.zones[network]; ok {
		return z, nil
	}
	taken := make(map[uint16]bool, len(m.zones))
	for _, z := range m.zones {
		taken[z] = true
	}
	for z := uint16(minZone); z <= maxZone; z++ {
		if !taken[z] {
			return z, nil
		}
	}
	return 0, fmt.Errorf("network %s: all %d numbers of this node are in use: %w", network, maxZone, errdefs.ErrExhausted)
}

// transitAddr is the address after the host's own, plus the network's number.
func transitAddr(prefix netip.Prefix, zone uint16) netip.Addr {
	if !prefix.IsValid() {
		return netip.Addr{}
	}
	raw := prefix.Masked().Addr().AsSlice()
	carry := uint32(zone) + 1
	for i := len(raw) - 1; i >= 0 && carry > 0; i-- {
		carry += uint32(raw[i])
		raw[i] = byte(carry)
		carry >>= 8
	}
	addr, _ := netip.AddrFromSlice(raw) // the length is that of an address
	return addr
}

// dropNetwork forgets the network but not its number, and returns the objects to drop.
func (m *desired) dropNetwork(id string) []Object {
	n := m.networks[id]
	if n == nil {
		return nil
	}
	delete(m.networks, id)
	for _, e := range n.endpoints {
		m.release(e.Interface)
	}
	objects := append(n.claims.Objects(), Object{KindNetwork, id, ""}, Object{KindMembers, id, ""})
	if len(m.networks) == 0 {
		objects = append(objects, Object{Kind: KindBase})
	}
	return objects
}

// setEndpoint adds or changes a local endpoint.
func (m *desired) setEndpoint(e LocalEndpoint) ([]Object, error) {
	n, err := m.network(e.Network)
	if err != nil {
		return nil, err
	}
	if !linkName.MatchString(e.Interface) {
		return nil, fmt.Errorf("endpoint %s: interface name %q: %w", e.ID, e.Interface, errdefs.ErrInvalid)
	}
	self := endpointRef{e.Network, e.ID}
	if owner, taken := m.devices[e.Interface]; taken && owner != self {
		return nil, fmt.Errorf("endpoint %s: interface %s belongs to endpoint %s: %w", e.ID, e.Interface, owner.id, errdefs.ErrConflict)
	}
	if e.Port, err = m.numbers.of(e.Interface); err != nil {
		return nil, err
	}
	if err := e.validate(m.base, n.spec); err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", e.ID, err)
	}
	e.Addrs = slices.Clone(e.Addrs)
	if old, ok := n.endpoints[e.ID]; ok && old.Interface != e.Interface {
		m.release(old.Interface)
	}
	m.numbers.give(e.Interface, e.Port)
	m.devices[e.Interface] = self
	n.endpoints[e.ID] = e
	return append(n.claims.SetEndpoint(e.Endpoint), Object{KindMembers, e.Network, ""}), nil
}

// release forgets an endpoint's device.
func (m *desired) release(device string) {
	m.numbers.release(device)
	delete(m.devices, device)
}

// dropEndpoint forgets a local endpoint; it is false for an unknown one.
func (m *desired) dropEndpoint(network, id string) (LocalEndpoint, []Object, bool) {
	n := m.networks[network]
	if n == nil {
		return LocalEndpoint{}, nil, false
	}
	e, ok := n.endpoints[id]
	if !ok {
		return LocalEndpoint{}, nil, false
	}
	delete(n.endpoints, id)
	m.release(e.Interface)
	return e, append(n.claims.DeleteEndpoint(id), Object{KindMembers, network, ""}), true
}

// compile returns the programs of the objects that have one, and the others.
func (m *desired) compile(objects []Object) (programs map[Object]Program, drop []Object, err error) {
	programs = make(map[Object]Program, len(objects))
	for _, o := range objects {
		p, ok, err := m.compileOne(o)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			programs[o] = p
		} else {
			drop = append(drop, o)
		}
	}
	return programs, drop, nil
}

func (m *desired) compileOne(o Object) (Program, bool, error) {
	if o.Kind == KindBase {
		p, err := CompileBase(m.base)
		return p, len(m.networks) > 0, err
	}
	n := m.networks[o.Network]
	if n == nil {
		return Program{}, false, nil
	}
	var (
		p   Program
		ok  = true
		err error
	)
	switch o.Kind {
	case KindNetwork:
		p, err = CompileNetwork(m.base, n.spec)
	case KindMembers:
		p, err = CompileMembers(m.base, n.spec, Members{Network: o.Network, VTEPs: n.members, Ports: n.ports()})
	case KindEndpoint:
		var e Endpoint
		if e, ok = n.claims.Endpoint(o.ID); ok {
			p, err = CompileEndpoint(m.base, n.spec, e)
		}
	case KindPeer:
		var peer Peer
		if peer, ok = n.claims.Peer(o.ID); ok {
			p, err = CompilePeer(m.base, n.spec, peer)
		}
	default:
		err = fmt.Errorf("object %+v: unknown kind: %w", o, errdefs.ErrInvalid)
	}
	return p, ok, err
}

func (n *networkModel) ports() []uint32 {
	ports := make([]uint32, 0, len(n.endpoints))
	for _, e := range n.endpoints {
		ports = append(ports, e.Port)
	}
	return ports
}

// objects is everything that has a program.
func (m *desired) objects() []Object {
	if len(m.networks) == 0 {
		return nil
	}
	out := []Object{{Kind: KindBase}}
	for id, n := range m.networks {
		out = append(out, Object{KindNetwork, id, ""}, Object{KindMembers, id, ""})
		out = append(out, n.claims.Objects()...)
	}
	return out
}

// endpointPort is the row to have for a device; it is false for one that is no endpoint's. The device's index is the
// caller's to fill in.
func (m *desired) endpointPort(device string) (wantPort, bool) {
	ref, ok := m.devices[device]
	if !ok {
		return wantPort{}, false
	}
	e := m.networks[ref.network].endpoints[ref.id]
	return wantPort{
		mark: markEndpoint, number: e.Port, network: ref.network, endpoint: e.ID, mac: e.MAC, addrs: joinAddrs(e.Addrs),
	}, true
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, " ")
}
