package drivers

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// The error classes a driver wraps; the same values as in package libcnm.
var (
	ErrNotFound    = errdefs.ErrNotFound
	ErrExists      = errdefs.ErrExists
	ErrInUse       = errdefs.ErrInUse
	ErrInvalid     = errdefs.ErrInvalid
	ErrConflict    = errdefs.ErrConflict
	ErrUnsupported = errdefs.ErrUnsupported
	ErrUnavailable = errdefs.ErrUnavailable
	ErrClosed      = errdefs.ErrClosed
)

// NetworkID identifies a network: 32 lower-case hexadecimal digits, never reused.
type NetworkID string

// EndpointID identifies an endpoint: 32 lower-case hexadecimal digits, never reused.
type EndpointID string

// Scope says which store holds a driver's networks.
type Scope string

// The scopes.
const (
	ScopeLocal   Scope = "local"   // this node's store; other nodes know nothing of the network
	ScopeCluster Scope = "cluster" // the shared store
)

// Info is what the controller must know of a driver before it can make networks for it.
type Info struct {
	Name  string // as users write it: "bridge", "ovs-vxlan"
	Scope Scope

	// Addressing: networks have subnets and endpoints have addresses and a MAC. Without it both have none, and
	// asking for one is ErrUnsupported.
	Addressing bool
	// VNI: each network gets a VXLAN network identifier, unique in the cluster.
	VNI bool
	// Overlap: networks of this driver may use subnets that other networks or the host's routes use too.
	Overlap bool
	// Singleton: the host can have only one network of this driver.
	Singleton bool
	// HostNetNS: endpoints can only join sandboxes that use the host's own namespace.
	HostNetNS bool
	// Ports: endpoints may publish ports.
	Ports bool
}

// Subnet is one address range of a network.
type Subnet struct {
	Prefix  netip.Prefix `json:"prefix"`           // canonical: no host bits
	Gateway netip.Addr   `json:"gateway,omitzero"` // inside Prefix; zero: the network has no first hop here
}

// Network is a network as a driver sees it: plain data, complete in itself.
type Network struct {
	ID       NetworkID
	Name     string // the user's name, for messages only: never part of a host object's name
	Subnets  []Subnet
	Internal bool            // no traffic to or from outside the network
	MTU      int             // bytes; 0: the driver derives it from the host
	VNI      uint32          // 1..2^24-1 for drivers with Info.VNI, else 0
	Options  json.RawMessage // what the user gave by WithDriverOptions, to be read with DecodeOptions; nil: defaults
}

// Endpoint is a joined endpoint on this host.
type Endpoint struct {
	ID        EndpointID
	Network   NetworkID
	MAC       MAC
	Addrs     []netip.Prefix // address with the subnet's length; empty for drivers without Info.Addressing
	NetNS     string         // path of the sandbox's namespace
	Interface string         // name the interface must have inside NetNS
	// Generation orders this endpoint's claim to its addresses and MAC against those of peers, by the rule of
	// Peer. Of equal generations this host's endpoint wins.
	Generation uint64
}

// Route is a route inside a sandbox.
type Route struct {
	Dst netip.Prefix
	Via netip.Addr // zero: on link
}

// Attachment is what a driver made for an endpoint; the controller uses it to configure the sandbox.
type Attachment struct {
	Interface string       // interface inside the namespace; empty: this kind of network has none
	MTU       int          // bytes; 0: left as the driver set it
	Gateways  []netip.Addr // at most one per family; empty: the endpoint cannot hold the default gateway
	Routes    []Route      // beyond those of the endpoint's own subnets
	// NeighbourRetry is how long the sandbox waits before it asks again for the MAC of a neighbour that did not answer, a
	// multiple of 20 ms up to 3 s; 0: the kernel's second. It is for networks that answer by themselves for every endpoint
	// they have been told of, so that the first packet to a new one does not wait for long.
	NeighbourRetry time.Duration
}

// Peer is an endpoint of a network that is joined on another node.
type Peer struct {
	Endpoint EndpointID
	MAC      MAC
	Addrs    []netip.Addr
	VTEP     netip.Addr // the tunnel address of the peer's node
	// Generation orders claims to the same address or MAC: the higher wins, whatever the order of arrival. It
	// grows over the life of a network, also from one endpoint to the next.
	Generation uint64
}

// PeerRef names one generation of a peer.
type PeerRef struct {
	Endpoint   EndpointID
	Generation uint64
}

// Member is another node with at least one joined endpoint in a network.
type Member struct {
	Node string
	VTEP netip.Addr
	MTU  int // the node's underlay MTU in bytes; 0: unknown
}

// PeerUpdate changes what a driver knows of other nodes' endpoints.
//
// With Full, Set is complete: peers not in it are gone. Without, Set adds or replaces and Del removes. An entry of Set
// that is older than what the driver has for that endpoint is ignored, and so is an entry of Del that is older than
// the peer it names: a late delete never removes a newer owner. Members is always complete.
type PeerUpdate struct {
	Full    bool
	Set     []Peer
	Del     []PeerRef
	Members []Member
}

// NetworkState is everything that should be true of one network on this host.
type NetworkState struct {
	Network   Network
	Endpoints []Endpoint
	Peers     []Peer
	Members   []Member
}

// Drift is one difference between the desired state and the host.
type Drift struct {
	Driver   string     // empty: the sandbox itself
	Network  NetworkID  // empty: not of one network
	Endpoint EndpointID // empty: not of one endpoint
	Object   string     // what differs: "link cnmv0a1b", "flow table=l2_forward ...", "chain CNM-FORWARD"
	Want     string     // empty: should not exist
	Have     string     // empty: does not exist
}

func (d Drift) String() string {
	want, have := d.Want, d.Have
	if want == "" {
		want = "absent"
	}
	if have == "" {
		have = "absent"
	}
	return fmt.Sprintf("%s: want %s, have %s", d.Object, want, have)
}

// MAC is a 48-bit hardware address. The zero value means none. It is comparable and is written like 02:42:0a:01:00:02.
type MAC [6]byte

// ParseMAC reads a unicast 48-bit address. Anything else, the all-zero address too, is ErrInvalid.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("MAC address %q: want six octets: %w", s, ErrInvalid)
	}
	m := MAC(hw)
	if m.IsZero() || m[0]&1 != 0 {
		return MAC{}, fmt.Errorf("MAC address %q: not a unicast address: %w", s, ErrInvalid)
	}
	return m, nil
}

// IsZero reports whether m is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// HardwareAddr returns m as the net package has it; nil for the zero value.
func (m MAC) HardwareAddr() net.HardwareAddr {
	if m.IsZero() {
		return nil
	}
	return net.HardwareAddr(m[:])
}

func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// MarshalText writes m as String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = MAC{}
		return nil
	}
	parsed, err := ParseMAC(string(text))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}
