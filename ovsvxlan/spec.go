package ovsvxlan

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// MaxVNI is the largest VXLAN network identifier: the field has 24 bits (RFC 7348, section 5).
const MaxVNI = 1<<24 - 1

// MaxPort is the largest OpenFlow port number Open vSwitch gives to an interface; above it are reserved ports.
const MaxPort = 0xfeff

// Base is what every network of a bridge shares: the two ports that lead off the bridge.
type Base struct {
	TunnelPort    uint32 `json:"tunnelPort"`    // OpenFlow port of the flow-based VXLAN interface
	TunnelUDPPort uint16 `json:"tunnelUDPPort"` // UDP destination port of the tunnels

	// GatewayPort is the OpenFlow port of the switch's end of the gateway veth. Zero: no network has egress, and
	// the other gateway fields are not used.
	GatewayPort    uint32 `json:"gatewayPort,omitempty"`
	GatewayMAC     MAC    `json:"gatewayMAC,omitzero"`     // the switch's end: source of egress, answer to the host's ARP and ND
	GatewayHostMAC MAC    `json:"gatewayHostMAC,omitzero"` // the host's end: destination of egress
	// TransitPrefix4 and TransitPrefix6 hold the transit addresses of every network on this node. The first address
	// after the network address is the host's end. Zero: no egress in that family.
	TransitPrefix4 netip.Prefix `json:"transitPrefix4,omitzero"`
	TransitPrefix6 netip.Prefix `json:"transitPrefix6,omitzero"`
}

// Network is one overlay network as seen by this node.
type Network struct {
	ID         string   `json:"id"`                 // 32 lower-case hexadecimal digits
	VNI        uint32   `json:"vni"`                // 1..MaxVNI, unique in the cluster
	Zone       uint16   `json:"zone,omitempty"`     // conntrack zone, unique on this node; zero only without egress
	Subnets    []Subnet `json:"subnets"`            // at least one
	GatewayMAC MAC      `json:"gatewayMAC"`         // the anycast gateway's, the same on every node
	Internal   bool     `json:"internal,omitempty"` // no egress, whatever the transit addresses
	// Transit4 and Transit6 stand for all of the network's endpoints on this node towards the host; they are inside
	// the base's transit prefixes. Zero: no egress in that family.
	Transit4 netip.Addr `json:"transit4,omitzero"`
	Transit6 netip.Addr `json:"transit6,omitzero"`
}

// Subnet is one address range of a network.
type Subnet struct {
	Prefix  netip.Prefix `json:"prefix"`
	Gateway netip.Addr   `json:"gateway,omitzero"` // inside Prefix; zero: no first hop
}

// Endpoint is an endpoint of a network that is joined on this node.
type Endpoint struct {
	ID      string       `json:"id"`
	Network string       `json:"network"` // Network.ID
	Port    uint32       `json:"port"`    // OpenFlow port of its interface
	MAC     MAC          `json:"mac"`
	Addrs   []netip.Addr `json:"addrs"`
	// Generation orders claims to one address or MAC, among endpoints and peers alike: the higher wins. See Claims.
	Generation uint64 `json:"generation,omitempty"`
}

// Peer is an endpoint of a network that is joined on another node.
type Peer struct {
	ID      string       `json:"id"`
	Network string       `json:"network"`
	MAC     MAC          `json:"mac"`
	Addrs   []netip.Addr `json:"addrs"`
	VTEP    netip.Addr   `json:"vtep"` // tunnel address of the peer's node
	// Generation orders claims to one address or MAC: the higher wins. See Claims.
	Generation uint64 `json:"generation,omitempty"`
}

// Members are the tunnel addresses of the other nodes that have endpoints of a network, and Ports the OpenFlow ports
// of this node's endpoints in it: together, where a broadcast goes. Order and repetition do not matter.
type Members struct {
	Network string       `json:"network"`
	VTEPs   []netip.Addr `json:"vteps,omitempty"`
	Ports   []uint32     `json:"ports,omitempty"`
}

// MAC is a 48-bit hardware address; the zero value means none.
type MAC [6]byte

// IsZero reports whether m is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// unicast reports whether m can be the address of one interface.
func (m MAC) unicast() bool { return !m.IsZero() && m[0]&1 == 0 }

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText writes m as String does, and the zero value as nothing.
func (m MAC) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return nil, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*m = MAC{}
		return nil
	}
	hw, err := net.ParseMAC(string(text))
	if err != nil || len(hw) != len(m) {
		return fmt.Errorf("MAC address %q: want six octets: %w", text, errdefs.ErrInvalid)
	}
	*m = MAC(hw)
	return nil
}
