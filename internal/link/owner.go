package link

import (
	"hash/fnv"
	"strings"
)

const markPrefix = "libcnm:"

// Owner says what a link is for. Its text is the link's alias, by which a driver finds its own links again after a crash:
//
//	libcnm:bridge:network:<network>
//	libcnm:bridge:endpoint:<network>/<endpoint>
//	libcnm:ovs-vxlan:node:<role>
type Owner struct {
	Driver   string // without ":"
	Network  string
	Endpoint string // with Network
	Role     string // of a link that belongs to the driver as a whole; only without Network
}

// DriverMark is what the aliases of all of a driver's links begin with.
func DriverMark(driver string) string { return markPrefix + driver + ":" }

func (o Owner) String() string {
	mark := DriverMark(o.Driver)
	switch {
	case o.Endpoint != "":
		return mark + "endpoint:" + o.Network + "/" + o.Endpoint
	case o.Network != "":
		return mark + "network:" + o.Network
	}
	return mark + "node:" + o.Role
}

// ParseOwner reads an alias. It reports false for one that is not an owner mark.
func ParseOwner(alias string) (Owner, bool) {
	rest, ok := strings.CutPrefix(alias, markPrefix)
	if !ok {
		return Owner{}, false
	}
	driver, rest, ok := strings.Cut(rest, ":")
	kind, id, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || driver == "" || id == "" {
		return Owner{}, false
	}
	o := Owner{Driver: driver}
	switch kind {
	case "network":
		o.Network = id
	case "endpoint":
		o.Network, o.Endpoint, ok = strings.Cut(id, "/")
		if !ok || o.Network == "" || o.Endpoint == "" {
			return Owner{}, false
		}
	case "node":
		o.Role = id
	default:
		return Owner{}, false
	}
	return o, true
}

// groupOf is the link group of a driver's links: a hash of "libcnm:<driver>:", never 0, which is everyone's. 0 comes only
// from a text that is no mark.
func groupOf(mark string) uint32 {
	rest, ok := strings.CutPrefix(mark, markPrefix)
	driver, _, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || driver == "" {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(DriverMark(driver)))
	return h.Sum32() | 1
}

// isDriverMark reports whether mark stands for everything of one driver.
func isDriverMark(mark string) bool {
	driver, ok := strings.CutPrefix(mark, markPrefix)
	return ok && strings.IndexByte(driver, ':') == len(driver)-1 && len(driver) > 1
}
