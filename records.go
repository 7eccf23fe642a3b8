package libcnm

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// recordVersion is written into every record. A node reads newer records as well as it can, but never rewrites one: it
// would drop the fields it does not know.
const recordVersion = 1

type networkRecord struct {
	Version  int               `json:"v"`
	ID       drivers.NetworkID `json:"id"`
	Name     string            `json:"name"`
	Driver   string            `json:"driver"`
	Subnets  []subnetRecord    `json:"subnets,omitempty"`
	Internal bool              `json:"internal,omitempty"`
	MTU      int               `json:"mtu,omitempty"`
	VNI      uint32            `json:"vni,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Options  json.RawMessage   `json:"options,omitempty"`
}

type subnetRecord struct {
	Prefix  netip.Prefix          `json:"prefix"`
	Range   netip.Prefix          `json:"range,omitzero"`
	Gateway netip.Addr            `json:"gateway,omitzero"`
	Aux     map[string]netip.Addr `json:"aux,omitempty"`
}

// driverNetwork is the part of a network that drivers see.
func (r *networkRecord) driverNetwork() drivers.Network {
	n := drivers.Network{
		ID: r.ID, Name: r.Name, Internal: r.Internal, MTU: r.MTU, VNI: r.VNI, Options: slices.Clone(r.Options),
	}
	for _, s := range r.Subnets {
		n.Subnets = append(n.Subnets, drivers.Subnet{Prefix: s.Prefix, Gateway: s.Gateway})
	}
	return n
}

type endpointRecord struct {
	Version int                `json:"v"`
	ID      drivers.EndpointID `json:"id"`
	Network drivers.NetworkID  `json:"network"`
	Name    string             `json:"name"`
	MAC     drivers.MAC        `json:"mac,omitzero"`
	Addrs   []netip.Prefix     `json:"addrs,omitempty"`
	Aliases []string           `json:"aliases,omitempty"`
	Fresh   bool               `json:"fresh,omitempty"` // no other endpoint had one of its addresses before
	Join    *joinRecord        `json:"join,omitempty"`  // nil: in no sandbox
}

// joinRecord is part of the endpoint's record, so that joining is one commit that other nodes see at once.
type joinRecord struct {
	Node      string            `json:"node"`
	Sandbox   string            `json:"sandbox"`
	Slot      int               `json:"slot"` // the n of ethN, also when the interface has another name
	Interface string            `json:"interface"`
	Priority  int               `json:"priority,omitempty"`
	Sysctls   map[string]string `json:"sysctls,omitempty"`
}

func (r *endpointRecord) addresses() []netip.Addr {
	addrs := make([]netip.Addr, 0, len(r.Addrs))
	for _, p := range r.Addrs {
		addrs = append(addrs, p.Addr())
	}
	return addrs
}

// withJoin returns a copy that is joined as j says, or not at all.
func (r *endpointRecord) withJoin(j *joinRecord) *endpointRecord {
	c := *r
	c.Addrs, c.Aliases = slices.Clone(r.Addrs), slices.Clone(r.Aliases)
	c.Join = nil
	if j != nil {
		join := *j
		join.Sysctls = maps.Clone(j.Sysctls)
		c.Join = &join
	}
	return &c
}

// claimRecord is what stands at an address. A freed address keeps its record for a while, so that it is given out again
// only after all others.
type claimRecord struct {
	Version  int                `json:"v"`
	Endpoint drivers.EndpointID `json:"endpoint,omitempty"` // empty: freed
}

// subnetsRecord lists the subnets of all networks of a store. It is one record because no guard on a key of its own can
// say that a subnet overlaps no other.
type subnetsRecord struct {
	Version  int            `json:"v"`
	Networks []subnetsEntry `json:"networks"`
}

type subnetsEntry struct {
	Network drivers.NetworkID `json:"id"`
	Name    string            `json:"name"`
	Overlap bool              `json:"overlap,omitempty"` // may be used by other networks too
	Subnets []netip.Prefix    `json:"subnets"`
}

type nodeRecord struct {
	Version  int        `json:"v"`
	Name     string     `json:"name"`
	VTEP     netip.Addr `json:"vtep,omitzero"`
	MTU      int        `json:"mtu,omitempty"` // of the underlay, in bytes
	Instance string     `json:"instance"`      // the data directory's identity
	Boot     string     `json:"boot"`          // the kernel's boot id
	Release  string     `json:"release"`       // of libcnm
}

type identityRecord struct {
	Version  int    `json:"v"`
	Instance string `json:"instance"`
	Boot     string `json:"boot"`
}

type sandboxRecord struct {
	Version     int               `json:"v"`
	ID          string            `json:"id"`
	ContainerID string            `json:"container"`
	NetNS       string            `json:"netns,omitempty"`
	Owned       bool              `json:"owned,omitempty"`      // we made the namespace
	HostNetNS   bool              `json:"host_netns,omitempty"` // it is the host's
	Hostname    string            `json:"hostname,omitempty"`
	Domainname  string            `json:"domainname,omitempty"`
	DNS         DNS               `json:"dns,omitzero"`
	Hosts       []ExtraHost       `json:"hosts,omitempty"`
	Sysctls     map[string]string `json:"sysctls,omitempty"`
	Cgroup      string            `json:"cgroup,omitempty"`
	CgroupOwned bool              `json:"cgroup_owned,omitempty"` // we made the group
	Labels      map[string]string `json:"labels,omitempty"`
}

// refRecord points from a name to an id.
type refRecord struct {
	Version int    `json:"v"`
	ID      string `json:"id"`
}

// versioned is any record.
type versioned interface {
	networkRecord | endpointRecord | claimRecord | subnetsRecord | nodeRecord | identityRecord | sandboxRecord | refRecord
	check(key string) error
}

// stored is a decoded record with what is needed to change it.
type stored[T versioned] struct {
	value T
	raw   store.Record
	newer bool // written by a later version: may be read, not rewritten
}

func (s *stored[T]) rev() store.Rev { return s.raw.Rev }

// unchanged guards a rewrite of the record.
func (s *stored[T]) unchanged() (store.Guard, error) {
	if s.newer {
		return store.Guard{}, fmt.Errorf("record %s was written by a newer version of libcnm: %w", s.raw.Key, ErrUnsupported)
	}
	return store.Unchanged(s.raw), nil
}

// decode reads a record and checks it. Unknown fields are ignored: a later version may have added them.
func decode[T versioned](raw store.Record) (*stored[T], error) {
	s, err := decodeUnnamed[T](raw)
	if err != nil {
		return nil, badRecord(raw.Key, err)
	}
	return s, nil
}

func decodeUnnamed[T versioned](raw store.Record) (*stored[T], error) {
	var head struct {
		Version int `json:"v"`
	}
	s := &stored[T]{raw: raw}
	if err := json.Unmarshal(raw.Value, &head); err != nil {
		return nil, err
	}
	if head.Version < 1 {
		return nil, errors.New("it has no version")
	}
	s.newer = head.Version > recordVersion
	if err := json.Unmarshal(raw.Value, &s.value); err != nil {
		return nil, err
	}
	return s, s.value.check(raw.Key)
}

// badRecord names the record that err is about. What it cannot be is quoted from a text of unknown length and origin.
func badRecord(key string, err error) error {
	const most = 300
	text := err.Error()
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return fmt.Errorf("record %s: %s: %w", printable(key), strings.TrimSuffix(text, ": "+ErrInvalid.Error()), ErrInvalid)
}

// put builds the operation that writes a record.
func put[T versioned](key string, value T) (store.Op, error) {
	raw, err := encode(key, value)
	if err != nil {
		return store.Op{}, err
	}
	return store.Put(key, raw), nil
}

func encode[T versioned](key string, value T) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode record %s: %w: %w", key, err, ErrInvalid)
	}
	return raw, nil
}

// batch collects guards and operations of one commit and remembers the first mistake.
type batch struct {
	guards []store.Guard
	ops    []store.Op
	err    error
}

func (b *batch) guard(g store.Guard) { b.guards = append(b.guards, g) }

func (b *batch) op(op store.Op) { b.ops = append(b.ops, op) }

func (b *batch) put(op store.Op, err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
	b.ops = append(b.ops, op)
}

// create puts a record where none may be.
func (b *batch) create(op store.Op, err error) {
	b.guard(store.Absent(op.Key))
	b.put(op, err)
}

func ref(key, id string) (store.Op, error) {
	return put(key, refRecord{Version: recordVersion, ID: id})
}
