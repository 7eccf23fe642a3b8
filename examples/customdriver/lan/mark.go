package lan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
)

// group marks every link of this driver. The kernel sets a link's group in the request that makes the link, so there is
// no instant at which a crash could leave a link without its mark; an alias takes a second request.
const group = 0x6c616e // "lan"

// mark says whose a link is. It is written into the link's alias. The zero mark is that of a link whose maker died
// before it wrote the alias: it belongs to nobody and may be deleted.
type mark struct {
	network  drivers.NetworkID
	endpoint drivers.EndpointID // empty: the network's bridge
}

func (m mark) String() string {
	if m.endpoint == "" {
		return fmt.Sprintf("lan:%s", m.network)
	}
	return fmt.Sprintf("lan:%s/%s", m.network, m.endpoint)
}

// markOf reads a link's mark. Links of other people report false.
func markOf(l netlink.Link) (mark, bool) {
	a := l.Attrs()
	if a.Group != group {
		return mark{}, false
	}
	ids, ok := strings.CutPrefix(a.Alias, "lan:")
	if !ok {
		return mark{}, true
	}
	network, endpoint, _ := strings.Cut(ids, "/")
	return mark{drivers.NetworkID(network), drivers.EndpointID(endpoint)}, true
}

// Names of interfaces have at most 15 bytes, so they hold a hash and never what a user chose.
func bridgeName(id drivers.NetworkID) string { return "lanb" + hash(string(id)) }
func portName(id drivers.EndpointID) string  { return "lanp" + hash(string(id)) }

func hash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:11]
}
