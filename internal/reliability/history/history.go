package history

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Kind is what a call does.
type Kind int

// The kinds of calls.
const (
	Acquire Kind = iota // make an object, which owns resources from then on
	Release             // remove the object, and with it what it owns
	Find                // read who owns the resource in Want
)

// Result is how a call ended.
type Result int

// The results of calls. A call whose outcome was never found out has none and is no Op.
const (
	Done      Result = iota
	Exists           // Acquire was refused: something in Want has an owner
	Exhausted        // Acquire was refused: a pool in Pools has nothing left
	Absent           // there is no such object; Acquire: nor the one to make it in
	InUse            // Release was refused: something was made in the object
)

// Op is one call with its outcome.
type Op struct {
	Client int
	Realm  string
	Kind   Kind
	Token  string   // Acquire, Release: the object, by a name that is used once; Find: the owner that was found
	Parent string   // Acquire: the object in which this one is made; empty: none
	Want   []string // Acquire: the resources that were asked for by name
	Pools  []string // Acquire: the pools that something is drawn from
	Result Result
	Got    []string // Acquire that is Done: all that the object owns
	// Start and End are moments of one clock. The call took effect between them, if at all.
	Start, End int64
}

func (o *Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "client %d: ", o.Client)
	switch o.Kind {
	case Acquire:
		fmt.Fprintf(&b, "%s acquires", o.Token)
		if o.Parent != "" {
			fmt.Fprintf(&b, " in %s", o.Parent)
		}
		if len(o.Want) > 0 {
			fmt.Fprintf(&b, " %s", strings.Join(o.Want, " and "))
		}
		if len(o.Pools) > 0 {
			fmt.Fprintf(&b, " from %s", strings.Join(o.Pools, " and "))
		}
	case Release:
		fmt.Fprintf(&b, "%s is released", o.Token)
	case Find:
		fmt.Fprintf(&b, "who has %s", strings.Join(o.Want, " and "))
	}
	switch {
	case o.Result == Exists:
		b.WriteString(": refused, it exists")
	case o.Result == Exhausted:
		b.WriteString(": refused, nothing is left")
	case o.Result == InUse:
		b.WriteString(": refused, it is in use")
	case o.Result == Absent:
		b.WriteString(": absent")
	case o.Kind == Acquire:
		fmt.Fprintf(&b, ": got %s", strings.Join(o.Got, ", "))
	case o.Kind == Find:
		fmt.Fprintf(&b, ": %s", o.Token)
	}
	return b.String()
}

// History is a set of calls. The zero value is empty and ready for use, by several goroutines.
type History struct {
	mu    sync.Mutex // guards what follows
	ops   []Op
	pools map[string][]string
}

// Pool says what is in a pool: Exhausted is right when all of it is owned.
func (h *History) Pool(name string, resources ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pools == nil {
		h.pools = make(map[string][]string)
	}
	h.pools[name] = slices.Clone(resources)
}

// Add records a call. It takes over the slices of op.
func (h *History) Add(op Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// Len is how many calls are recorded.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// Tally counts the calls of each kind by their results, such as "acquire done".
func (h *History) Tally() map[string]int {
	kinds := [...]string{Acquire: "acquire", Release: "release", Find: "find"}
	results := [...]string{Done: "done", Exists: "exists", Exhausted: "exhausted", Absent: "absent", InUse: "in use"}
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := make(map[string]int)
	for _, op := range h.ops {
		counts[kinds[op.Kind]+" "+results[op.Result]]++
	}
	return counts
}

// byRealm returns the calls on each realm in the order of their starts.
func (h *History) byRealm() map[string][]Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	realms := make(map[string][]Op)
	for _, op := range h.ops {
		realms[op.Realm] = append(realms[op.Realm], op)
	}
	for _, ops := range realms {
		slices.SortStableFunc(ops, func(a, b Op) int {
			if a.Start < b.Start {
				return -1
			}
			return 1
		})
	}
	return realms
}
