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

	// What one flow after the other is put together in.
	fields []string
	text   []byte
}

func newBuilder(o Object) *builder { return &builder{cookie: o.cookie()} }

// add compiles one flow. The library writes matches and actions; they are put together in the form that a dump is compared
// in, as ParseFlow does it.
func (b *builder) add(table Table, priority int, protocol ovs.Protocol, match []ovs.Match, actions ...ovs.Action) {
	if b.err != nil {
		return
	}
	flow := Flow{Table: table, Priority: uint16(priority), Cookie: b.cookie}
	if flow.Match, b.err = b.matchText(protocol, match); b.err == nil {
		flow.Actions, b.err = b.actionText(actions)
	}
	if b.err != nil {
		b.err = fmt.Errorf("flow of table %s: %w", table, b.err)
		return
	}
	b.flows = append(b.flows, flow)
}

func (b *builder) matchText(protocol ovs.Protocol, match []ovs.Match) (string, error) {
	b.fields = b.fields[:0]
	if protocol != "" {
		b.fields = append(b.fields, string(protocol))
	}
	for _, m := range match {
		text, err := m.MarshalText()
		if err != nil {
			return "", fmt.Errorf("match %#v: %w", m, err)
		}
		b.fields = append(b.fields, string(text))
	}
	return canonicalMatch(b.fields), nil
}

func (b *builder) actionText(actions []ovs.Action) (string, error) {
	b.text = b.text[:0]
	for i, a := range actions {
		text, err := a.MarshalText()
		if err != nil {
			return "", fmt.Errorf("action %#v: %w", a, err)
		}
		if i > 0 {
			b.text = append(b.text, ',')
		}
		b.text = append(b.text, text...)
	}
	return string(b.text), nil
}

func (b *builder) program() (Program, error) {
	if b.err != nil {
		return Program{}, b.err
	}
	return newProgram(b.flows, b.groups)
}
