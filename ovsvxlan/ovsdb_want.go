package ovsvxlan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Keys of external_ids. markKey tells our rows from everyone else's; the rest is for people and for a restart.
const (
	markKey     = "libcnm" // value: what the row is for
	networkKey  = "libcnm-network"
	endpointKey = "libcnm-endpoint"
	macKey      = "libcnm-mac"
	addrsKey    = "libcnm-addrs"
	indexKey    = "libcnm-ifindex"
	zonePrefix  = "libcnm-zone-" // + network id, on the bridge: the network's number on this node
)

// Values of markKey.
const (
	markBridge   = "bridge"
	markTunnel   = "tunnel"
	markGateway  = "gateway"
	markEndpoint = "endpoint"
)

// wantRows is what the database should hold of ours. It is immutable once handed out.
type wantRows struct {
	bridge *wantBridge // nil: nothing of ours
	ports  map[string]wantPort
}

type wantBridge struct {
	name     string
	datapath string // Bridge.datapath_type
	zones    map[string]uint16
}

type wantPort struct {
	mark     string
	kind     string // Interface.type; empty: a network device of the host
	number   uint32 // Interface.ofport_request
	options  map[string]string
	index    int // the device's index; OVS keeps reading a deleted device when a namesake takes its place
	endpoint string
	network  string
	mac      MAC
	addrs    string // separated by spaces
}

func (w wantPort) externalIDs() map[string]string {
	ids := map[string]string{markKey: w.mark}
	if w.index != 0 {
		ids[indexKey] = strconv.Itoa(w.index)
	}
	if w.mark == markEndpoint {
		ids[networkKey], ids[endpointKey], ids[macKey], ids[addrsKey] = w.network, w.endpoint, w.mac.String(), w.addrs
	}
	return ids
}

func (w wantBridge) externalIDs() map[string]string {
	ids := map[string]string{markKey: markBridge}
	for network, zone := range w.zones {
		ids[zonePrefix+network] = strconv.FormatUint(uint64(zone), 10)
	}
	return ids
}

// The settings of the bridge that never vary. Without fail-mode secure a restarted ovs-vswitchd forwards everything
// to everyone until the flows are back; in-band control would add hidden flows of its own.
const failMode = "secure"

var (
	bridgeProtocols   = []string{"OpenFlow13", "OpenFlow14", "OpenFlow15"}
	bridgeOtherConfig = map[string]string{"disable-in-band": "true"}
	// portOtherConfig lets OVS's boot script drop ports whose devices did not survive the reboot.
	portOtherConfig = map[string]string{"transient": "true"}
)

// storedZones reads the numbers kept on our bridge. A damaged entry reads as absent: the network gets a new number.
func storedZones(b *bridgeRow) map[string]uint16 {
	zones := map[string]uint16{}
	taken := map[uint16]bool{}
	if b == nil {
		return zones
	}
	for _, k := range slices.Sorted(maps.Keys(b.ExternalIDs)) {
		network, ok := strings.CutPrefix(k, zonePrefix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(b.ExternalIDs[k], 10, 16)
		if err != nil || n < minZone || n > maxZone || taken[uint16(n)] {
			continue
		}
		zones[network], taken[uint16(n)] = uint16(n), true
	}
	return zones
}

// ours reports whether external_ids carry our mark.
func ours(ids map[string]string) bool { _, ok := ids[markKey]; return ok }

// foreign is the error for a row of somebody else that stands where ours should.
func foreign(table, name string) error {
	return fmt.Errorf("%s %s exists and is not libcnm's: %w", table, name, errdefs.ErrConflict)
}
