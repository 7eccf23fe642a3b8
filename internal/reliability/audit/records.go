package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/local"
)

// dataFile is the local store in the data directory.
const dataFile = "libcnm.db"

// The records, as far as they say what should be. Their JSON is the stored one.
type (
	network struct {
		ID       string          `json:"id"`
		Name     string          `json:"name"`
		Driver   string          `json:"driver"`
		Subnets  []subnet        `json:"subnets"`
		Internal bool            `json:"internal"`
		MTU      int             `json:"mtu"`
		VNI      uint32          `json:"vni"`
		Options  json.RawMessage `json:"options"`

		cluster bool // in the cluster's store
	}
	subnet struct {
		Prefix  netip.Prefix `json:"prefix"`
		Gateway netip.Addr   `json:"gateway"`
	}
	endpoint struct {
		ID      string         `json:"id"`
		Network string         `json:"network"`
		Name    string         `json:"name"`
		MAC     drivers.MAC    `json:"mac"`
		Addrs   []netip.Prefix `json:"addrs"`
		Join    *join          `json:"join"`

		rev store.Rev
		net *network // nil: there is none
	}
	join struct {
		Node      string            `json:"node"`
		Sandbox   string            `json:"sandbox"`
		Slot      int               `json:"slot"`
		Interface string            `json:"interface"`
		Priority  int               `json:"priority"`
		Sysctls   map[string]string `json:"sysctls"`
	}
	sandbox struct {
		ID          string            `json:"id"`
		Container   string            `json:"container"`
		NetNS       string            `json:"netns"`
		Owned       bool              `json:"owned"`
		HostNetNS   bool              `json:"host_netns"`
		Hostname    string            `json:"hostname"`
		Domainname  string            `json:"domainname"`
		DNS         dns               `json:"dns"`
		Hosts       []extraHost       `json:"hosts"`
		Sysctls     map[string]string `json:"sysctls"`
		Cgroup      string            `json:"cgroup"`
		CgroupOwned bool              `json:"cgroup_owned"`

		joined []*endpoint // by slot
	}
	dns struct {
		Servers []netip.Addr `json:"servers"`
		Search  []string     `json:"search"`
		Options []string     `json:"options"`
	}
	extraHost struct {
		Name string     `json:"name"`
		Addr netip.Addr `json:"addr"`
	}
	node struct {
		Name string     `json:"name"`
		VTEP netip.Addr `json:"vtep"`
		MTU  int        `json:"mtu"`
	}
	subnetsEntry struct {
		ID      string         `json:"id"`
		Name    string         `json:"name"`
		Overlap bool           `json:"overlap"`
		Subnets []netip.Prefix `json:"subnets"`
	}
)

// records is what the stores say.
type records struct {
	stores    []storeRecords // the local one first
	networks  map[string]*network
	endpoints map[string]*endpoint
	sandboxes map[string]*sandbox
	nodes     map[string]node
}

// storeRecords is the content of one store.
type storeRecords struct {
	name    string // for findings
	local   bool   // has what only this node's store has
	cluster bool   // has what the cluster shares
	raws    []store.Record
}

// load reads the stores. A record that cannot be read is a finding and left out.
func (a *audit) load(ctx context.Context) (*records, error) {
	r := &records{
		networks: map[string]*network{}, endpoints: map[string]*endpoint{},
		sandboxes: map[string]*sandbox{}, nodes: map[string]node{},
	}
	raws, err := readCopy(ctx, filepath.Join(a.host.DataDir, dataFile))
	if err != nil {
		return nil, err
	}
	r.stores = append(r.stores, storeRecords{name: "local", local: true, cluster: a.host.Cluster == nil, raws: raws})
	if a.host.Cluster != nil {
		raws, _, err := a.host.Cluster.List(ctx, "")
		if err != nil {
			return nil, fmt.Errorf("list the cluster's records: %w", err)
		}
		r.stores = append(r.stores, storeRecords{name: "cluster", cluster: true, raws: raws})
	}
	for _, s := range r.stores {
		for _, raw := range s.raws {
			if err := r.take(s, raw); err != nil {
				a.add(Wrong, "record "+raw.Key, "it cannot be read: %v", err)
			}
		}
	}
	for _, ep := range r.endpoints {
		ep.net = r.networks[ep.Network]
		if ep.Join == nil || ep.Join.Node != a.host.Node {
			continue
		}
		if sb := r.sandboxes[ep.Join.Sandbox]; sb != nil {
			sb.joined = append(sb.joined, ep)
		}
	}
	for _, sb := range r.sandboxes {
		slices.SortFunc(sb.joined, func(x, y *endpoint) int { return x.Join.Slot - y.Join.Slot })
	}
	return r, nil
}

func (r *records) take(s storeRecords, raw store.Record) error {
	dir, _, _ := strings.Cut(raw.Key, "/")
	switch dir {
	case "networks":
		n, err := decode[network](raw)
		if err != nil {
			return err
		}
		n.cluster = !s.local
		r.networks[n.ID] = &n
	case "endpoints":
		ep, err := decode[endpoint](raw)
		if err != nil {
			return err
		}
		ep.rev = raw.Rev
		r.endpoints[ep.ID] = &ep
	case "sandboxes":
		sb, err := decode[sandbox](raw)
		if err != nil {
			return err
		}
		r.sandboxes[sb.ID] = &sb
	case "nodes":
		n, err := decode[node](raw)
		if err != nil {
			return err
		}
		r.nodes[n.Name] = n
	}
	return nil
}

func decode[T any](raw store.Record) (v T, err error) {
	if err := json.Unmarshal(raw.Value, &v); err != nil {
		return v, fmt.Errorf("decode record %s: %w: %w", raw.Key, err, errdefs.ErrInvalid)
	}
	return v, nil
}

// readCopy lists the store in a file that another process may have open.
func readCopy(ctx context.Context, path string) (_ []store.Record, err error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // nothing was ever recorded
	}
	if err != nil {
		return nil, fmt.Errorf("read the local store: %w: %w", err, errdefs.ErrUnavailable)
	}
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		return nil, fmt.Errorf("copy the local store: %w: %w", err, errdefs.ErrUnavailable)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	twin := filepath.Join(dir, dataFile)
	if err := os.WriteFile(twin, content, 0o600); err != nil {
		return nil, fmt.Errorf("copy the local store: %w: %w", err, errdefs.ErrUnavailable)
	}
	s, err := local.Open(ctx, twin)
	if err != nil {
		return nil, fmt.Errorf("copy of %s: %w", path, err)
	}
	raws, _, err := s.List(ctx, "")
	return raws, errors.Join(err, s.Close())
}

// here reports whether the endpoint is joined on the host.
func (a *audit) here(ep *endpoint) bool { return ep.Join != nil && ep.Join.Node == a.host.Node }

// active returns the driver's networks that take up something of the host, by ID: those of cluster scope only while an
// endpoint is joined here.
func (a *audit) active(driver string) []*network {
	var list []*network
	for _, n := range a.networks {
		if n.Driver == driver && (driver != overlayDriver || a.used(n)) {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(x, y *network) int { return strings.Compare(x.ID, y.ID) })
	return list
}

func (a *audit) used(n *network) bool {
	for _, ep := range a.endpoints {
		if ep.Network == n.ID && a.here(ep) {
			return true
		}
	}
	return false
}

// endpointsOf returns the network's endpoints, by ID.
func (a *audit) endpointsOf(n *network) []*endpoint {
	var list []*endpoint
	for _, ep := range a.endpoints {
		if ep.Network == n.ID {
			list = append(list, ep)
		}
	}
	slices.SortFunc(list, func(x, y *endpoint) int { return strings.Compare(x.ID, y.ID) })
	return list
}
