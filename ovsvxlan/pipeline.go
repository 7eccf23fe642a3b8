package ovsvxlan

import "strconv"

// Table is an OpenFlow table of the bridge.
type Table uint8

// The tables a frame can pass. Numbers leave room: 50 to 79 for connection tracking, service load balancing and egress
// rules, 110 to 119 for ingress rules.
const (
	TableClassify      Table = 0   // which port did the frame come from
	TableTunnelAdmit   Table = 10  // is its sender a known peer of the network, on the right node
	TableEndpointGuard Table = 20  // does the endpoint speak with its own addresses only
	TableGatewayAdmit  Table = 30  // which network is a frame from the host for
	TableGatewayState  Table = 31  // does it answer something an endpoint sent
	TableNeighbor      Table = 40  // whose address does an ARP or ND request ask for
	TableReply         Table = 41  // turn the request into its answer
	TableReplyND       Table = 42  // finish an ND answer: its option can only be written once it is one
	TableRoute         Table = 80  // where does a packet sent to the gateway's MAC go
	TableEgress        Table = 90  // may it leave the network, and under which address
	TableEgressOut     Table = 91  // hand it to the host
	TableForward       Table = 100 // which port or node has the destination MAC
	TableOutput        Table = 120 // send to the port chosen
	TableCanary        Table = 253 // never visited: its one flow says that the program is complete, and its version
)

var tableNames = map[Table]string{
	TableClassify:      "classify",
	TableTunnelAdmit:   "tunnel_admit",
	TableEndpointGuard: "endpoint_guard",
	TableGatewayAdmit:  "gateway_admit",
	TableGatewayState:  "gateway_state",
	TableNeighbor:      "neighbor",
	TableReply:         "reply",
	TableReplyND:       "reply_nd",
	TableRoute:         "route",
	TableEgress:        "egress",
	TableEgressOut:     "egress_out",
	TableForward:       "forward",
	TableOutput:        "output",
	TableCanary:        "canary",
}

// String returns the table's name, or its number if it is not one of ours.
func (t Table) String() string {
	if name, ok := tableNames[t]; ok {
		return name
	}
	return strconv.Itoa(int(t))
}

// FragmentMode is what the bridge must be told by ovs-ofctl set-frags before it forwards. In the default mode the
// ports of every fragment read as zero, and a sender passes the guards on UDP ports by fragmenting; with this one the
// first fragment has its ports, and without the first fragment the rest is never reassembled.
const FragmentMode = "nx-match"

// A cookie marks a flow as ours and says which object it is from, for people and for dump filters; nothing is looked
// up by it. From the top: owner 16 bits, schema version 8, kind 8, hash of the object's id 32.
const cookieOwner uint64 = 0x636e << 48

// schemaVersion changes whenever flows of an older version could not stand beside those of this one.
const schemaVersion = 1
