package libcnm

import (
	"maps"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// remote is an endpoint as a revision of the store has it.
type remote struct {
	ep  *endpointRecord
	rev store.Rev
}

// remoteOf keeps of a record only what it says, not its text.
func remoteOf(s *stored[endpointRecord]) remote {
	ep := s.value
	return remote{ep: &ep, rev: s.rev()}
}

// joinedOn is the endpoint's node; empty for one that is not there, or joined nowhere.
func (r remote) joinedOn() string {
	if r.ep == nil || r.ep.Join == nil {
		return ""
	}
	return r.ep.Join.Node
}

// roster is the endpoints of one network, and on which nodes they are joined. What a change costs does not depend on how
// many there are.
type roster struct {
	byID map[drivers.EndpointID]remote
	on   map[string]int // how many endpoints are joined on the node; at least one
}

func newRoster() roster {
	return roster{byID: make(map[drivers.EndpointID]remote), on: make(map[string]int)}
}

// set takes what an endpoint is now, without a record for one that is gone. It returns what it was, and whether another
// node has endpoints now, or one has none any more.
func (r *roster) set(id drivers.EndpointID, next remote) (before remote, moved bool) {
	before = r.byID[id]
	if next.ep == nil {
		delete(r.byID, id)
	} else {
		r.byID[id] = next
	}
	from, to := before.joinedOn(), next.joinedOn()
	if from == to {
		return before, false
	}
	if to != "" {
		r.on[to]++
		moved = r.on[to] == 1
	}
	if from != "" {
		r.on[from]--
	}
	if from != "" && r.on[from] == 0 {
		delete(r.on, from)
		moved = true
	}
	return before, moved
}

// ids are in order, so that a driver is told the same of the same.
func (r *roster) ids() []drivers.EndpointID { return slices.Sorted(maps.Keys(r.byID)) }

// nodes are in order.
func (r *roster) nodes() []string { return slices.Sorted(maps.Keys(r.on)) }
