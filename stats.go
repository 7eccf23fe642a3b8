package libcnm

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// What makes a controller look at its host, as Stats.ByCause and the log name it.
const (
	CauseStart     = "start"                 // New
	CauseInterval  = "interval"              // WithCheckInterval has passed
	CauseAsked     = "asked for"             // Reconcile
	CauseInterface = "interface is gone"     // the kernel says that one of ours was removed, or that it lost count
	CauseSandbox   = "sandbox damaged"       // the kernel says that something was removed or replaced in one, or an interface set down
	CauseDriver    = "driver event"          // a drivers.Notifier: for ovs-vxlan, a bridge or port that somebody removed or made anew
	CauseRemoval   = "removal failed"        // a Leave or Delete could not take all it had made off the host
	CauseUnfit     = "driver was not usable" // New could not bring a driver in order
)

// cause is why a look is taken.
type cause struct {
	kind   string // one of the above
	detail string
}

// Stats counts what a controller did by itself since New. Counts only grow.
type Stats struct {
	Rounds     int64            // looks at the whole host
	Repairs    int64            // differences that were found and made good
	ByObject   map[string]int64 // Repairs by driver and kind of object: "ovs-vxlan flow", "bridge link", "sandbox route"
	ByCause    map[string]int64 // Repairs by what made the controller look: CauseStart and so on
	LastRepair time.Time        // zero: none yet
	Failures   int64            // repairs of a driver's part or of a sandbox that ended with an error
	Evictions  int64            // endpoints that left their sandboxes because another node deleted or released them
	// Unusable names the drivers that New could not bring in order, and why: at this moment, not a count. Calls about their
	// networks are ErrUnavailable; it is tried again every second.
	Unusable map[string]string
}

// Stats returns the counters. It asks neither a store nor the host.
func (c *NetworkController) Stats() Stats {
	s := c.stats.snapshot()
	s.Unusable = c.unfitDrivers()
	return s
}

// maxKinds bounds the kinds of objects that are counted by themselves: drivers choose the names.
const maxKinds = 100

// counters are the mutable side of Stats.
type counters struct {
	mu sync.Mutex // guards s
	s  Stats
}

func (n *counters) change(f func(*Stats)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(&n.s)
}

func (n *counters) snapshot() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.s
	s.ByObject, s.ByCause = maps.Clone(s.ByObject), maps.Clone(s.ByCause)
	return s
}

// repaired counts and logs differences that were made good.
func (c *NetworkController) repaired(part string, found []Drift, why cause, keys ...any) {
	if len(found) == 0 {
		return
	}
	log := c.log.With(append(keys, "cause", why.kind, "detail", why.detail)...)
	for _, d := range found {
		log.Info("difference is repaired", "network", d.Network, "endpoint", d.Endpoint, "object", d.Object, "want", d.Want, "have", d.Have)
	}
	c.stats.change(func(s *Stats) {
		if s.ByObject == nil {
			s.ByObject, s.ByCause = make(map[string]int64), make(map[string]int64)
		}
		for _, d := range found {
			kind, _, _ := strings.Cut(d.Object, " ")
			key := part + " " + kind
			if s.ByObject[key] == 0 && len(s.ByObject) >= maxKinds {
				key = part + " other"
			}
			s.ByObject[key]++
		}
		s.ByCause[why.kind] += int64(len(found))
		s.Repairs += int64(len(found))
		s.LastRepair = time.Now()
	})
}
