package ovsvxlan

import (
	"fmt"
	"hash/fnv"

	"github.com/digitalocean/go-openvswitch/ovs"
)

// Kind is a kind of object that has a program of its own.
type Kind uint8

// The kinds. Their values are part of flow cookies.
const (
	KindBase     Kind = 1 // the bridge itself
	KindNetwork  Kind = 2
	KindMembers  Kind = 3 // where a network's broadcasts go
	KindEndpoint Kind = 4
	KindPeer     Kind = 5
)

// Object names something that has a program of its own, comparable.
type Object struct {
	Kind    Kind
	Network string // empty for the base
	ID      string // of an endpoint or peer
}

func (o Object) cookie() uint64 {
	cookie := cookieOwner | schemaVersion<<40 | uint64(o.Kind)<<32
	if o.Kind == KindBase {
		return cookie
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(o.Network + "/" + o.ID)) // a hash.Hash never returns an error
	return cookie | uint64(h.Sum32())
}

// What a frame's source is, in register 1.
const (
	fromTunnel   = 1
	fromEndpoint = 2
	fromGateway  = 3
)

// Priorities. What refuses stands above what it makes an exception from.
const (
	refuse  = 200 // never allowed, whatever else matches
	proven  = 150 // allowed because of what the more general rule below does not look at
	suspect = 140 // refused unless proven
	special = 110 // one case of what exact would match too
	exact   = 100 // one address, port or network
	many    = 90  // every multicast
	subnet  = 60  // the rest of a subnet
	outside = 40  // everything beyond
	miss    = 0   // the table's answer to what nothing above matched; its counter says why frames are lost
)

// builder collects the flows of one object.
type builder struct {
	cookie uint64
	flows  []Flow
	groups []Group
	err    error // the first
}

func newBuilder(o Object) *builder { return &builder{cookie: o.cookie()} }

// add compiles one flow. The library writes it, ParseFlow brings it into the form that a dump is compared in.
func (b *builder) add(table Table, priority int, protocol ovs.Protocol, match []ovs.Match, actions ...ovs.Action) {
	if b.err != nil {
		return
	}
	flow := ovs.Flow{
		Table: int(table), Priority: priority, Protocol: protocol, Cookie: b.cookie, Matches: match, Actions: actions,
	}
	text, err := flow.MarshalText()
	if err != nil {
		b.err = fmt.Errorf("flow %#v: %w", flow, err)
		return
	}
	parsed, err := ParseFlow(string(text))
	if err != nil {
		b.err = err
		return
	}
	b.flows = append(b.flows, parsed)
}

func (b *builder) program() (Program, error) {
	if b.err != nil {
		return Program{}, b.err
	}
	return newProgram(b.flows, b.groups)
}
