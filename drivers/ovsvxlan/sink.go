package ovsvxlan

import (
	"net"

	"github.com/libcnm/libcnm/internal/link"
)

const sinkName = "cnm-sink"

// sink is the bridge that is never up: a frame that comes in by one of its ports is dropped before the host's stack, and
// after the packet sockets, see it. Its MTU is its own, so that it does not follow that of a port.
func (d *Driver) sink() link.Bridge {
	return link.Bridge{
		Name: sinkName, Alias: d.host.NodeMark("sink"), MAC: net.HardwareAddr{0x0a, 'c', 'n', 'm', 0, 3}, MTU: 65535, Down: true,
	}
}

// drain makes v a port of the sink. A bridge hands frames to the groups of link protocols to the stack, whatever they
// carry, unless it is told to forward them, which a bridge that is down does not.
func drain(v *link.Veth) {
	v.Master, v.GroupForward = sinkName, 0xfffd
	v.Peer.TxOff = true
}
