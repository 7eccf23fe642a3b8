package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// localOnly and shared are the directories of the stores' keys, and keys without one.
var (
	localOnly = []string{"node", "sandboxes", "sandbox-containers", "drivers"}
	shared    = []string{
		"networks", "network-names", "network-singletons", "vnis", "subnets", "endpoints", "endpoint-names", "macs", "claims",
		"members", "nodes",
	}
	singletons = []string{"host", "null"} // drivers that allow one network
)

// agree compares the records with each other: whatever belongs to an object must be there, and nothing else.
func (a *audit) agree() {
	for _, s := range a.stores {
		a.agreeStore(s)
	}
	a.agreeSubnets()
	a.agreeJoins()
	for _, driver := range []string{bridgeDriver, overlayDriver} {
		if len(a.active(driver)) > 0 && !a.has("drivers/"+driver) {
			a.add(Missing, "record drivers/"+driver, "the driver has networks here, and the next controller would not ask it to clean up")
		}
	}
}

// has reports whether the local store has a key.
func (a *audit) has(key string) bool {
	for _, raw := range a.stores[0].raws {
		if raw.Key == key {
			return true
		}
	}
	return false
}

// owners are the objects that want a key: more than one is a duplicate.
type owners map[string][]string

func (o owners) want(key, owner string) { o[key] = append(o[key], owner) }

func (a *audit) agreeStore(s storeRecords) {
	want := owners{}
	have := map[string]string{}
	for _, raw := range s.raws {
		a.agreeRecord(s, raw.Key, raw.Value, want, have)
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		ids, owner := want[key], have[key]
		if len(ids) > 1 {
			slices.Sort(ids)
			a.add(Duplicate, "record "+key, "%s have it", strings.Join(ids, " and "))
		}
		switch {
		case owner == "":
			a.add(Missing, "record "+key, "%s of the %s store has none", ids[0], s.name)
		case !slices.Contains(ids, owner):
			a.add(Wrong, "record "+key, "it says %s, and belongs to %s", owner, ids[0])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if len(want[key]) == 0 {
			a.add(Stray, "record "+key, "%s of the %s store does not have it", have[key], s.name)
		}
	}
}

// agreeRecord adds what the record is an owner of to want, and whose it is to have.
func (a *audit) agreeRecord(s storeRecords, key string, value []byte, want owners, have map[string]string) {
	dir, rest, _ := strings.Cut(key, "/")
	if !(s.local && slices.Contains(localOnly, dir)) && !slices.Contains(shared, dir) {
		a.add(Stray, "record "+key, "no record of the %s store is called so", s.name)
		return
	}
	var r struct {
		Version  int    `json:"v"`
		ID       string `json:"id"`
		Name     string `json:"name"`
		Endpoint string `json:"endpoint"`
	}
	if err := json.Unmarshal(value, &r); err != nil || r.Version < 1 {
		a.add(Wrong, "record "+key, "it has no version: %v", err)
		return
	}
	switch dir {
	case "networks":
		a.sameKey(key, "networks/"+r.ID)
		if n := a.networks[r.ID]; n != nil {
			a.networkWants(n, want)
		}
	case "endpoints":
		if ep := a.endpoints[r.ID]; ep != nil {
			a.sameKey(key, path.Join("endpoints", ep.Network, ep.ID))
			a.endpointWants(ep, want)
		}
	case "sandboxes":
		a.sameKey(key, "sandboxes/"+r.ID)
		if sb := a.sandboxes[r.ID]; sb != nil {
			want.want("sandbox-containers/"+sb.Container, r.ID)
		}
	case "nodes":
		a.sameKey(key, "nodes/"+r.Name)
	case "claims":
		if net, _, _ := strings.Cut(rest, "/"); r.Endpoint == "" && a.networks[net] == nil {
			a.add(Stray, "record "+key, "the freed address is of no network")
		} else if r.Endpoint != "" {
			have[key] = r.Endpoint
		}
	case "node", "subnets", "drivers":
	default:
		have[key] = r.ID
	}
}

func (a *audit) sameKey(key, want string) {
	if key != want {
		a.add(Wrong, "record "+key, "its content belongs at %s", want)
	}
}

func (a *audit) networkWants(n *network, want owners) {
	want.want("network-names/"+n.Name, n.ID)
	if n.VNI != 0 {
		want.want("vnis/"+strconv.FormatUint(uint64(n.VNI), 10), n.ID)
	}
	if slices.Contains(singletons, n.Driver) {
		want.want("network-singletons/"+n.Driver, n.ID)
	}
}

func (a *audit) endpointWants(ep *endpoint, want owners) {
	object := "record " + path.Join("endpoints", ep.Network, ep.ID)
	if ep.net == nil {
		a.add(Stray, object, "its network does not exist")
	}
	want.want(path.Join("endpoint-names", ep.Network, ep.Name), ep.ID)
	if !ep.MAC.IsZero() {
		want.want(path.Join("macs", ep.Network, ep.MAC.String()), ep.ID)
	}
	for _, p := range ep.Addrs {
		want.want(path.Join("claims", ep.Network, p.Addr().String()), ep.ID)
		if ep.net != nil && !slices.ContainsFunc(ep.net.Subnets, func(s subnet) bool {
			return s.Prefix == p.Masked() && s.Gateway != p.Addr()
		}) {
			a.add(Wrong, object, "address %s is in none of its network's subnets, or is a gateway's", p)
		}
	}
	if ep.Join != nil {
		want.want(path.Join("members", ep.Join.Node, ep.Network, ep.ID), ep.ID)
	}
}

// agreeSubnets compares the list of all subnets in each store with the networks.
func (a *audit) agreeSubnets() {
	for _, s := range a.stores {
		var list struct {
			Networks []subnetsEntry `json:"networks"`
		}
		for _, raw := range s.raws {
			if raw.Key == "subnets" {
				if err := json.Unmarshal(raw.Value, &list); err != nil {
					a.add(Wrong, "record subnets", "it cannot be read: %v", err)
				}
			}
		}
		have := map[string]subnetsEntry{}
		for i, e := range list.Networks {
			if _, twice := have[e.ID]; twice {
				a.add(Duplicate, "record subnets", "network %s is in it twice", e.ID)
			}
			have[e.ID] = e
			for _, other := range list.Networks[:i] {
				a.agreeOverlap(e, other)
			}
		}
		for _, n := range a.networks {
			if n.cluster == s.local || len(n.Subnets) == 0 {
				continue
			}
			a.agreeEntry(n, have)
		}
		for _, id := range slices.Sorted(maps.Keys(have)) {
			a.add(Stray, "record subnets", "network %s is in that of the %s store, and does not exist", id, s.name)
		}
	}
}

// agreeEntry compares a network with its entry, which it takes from have.
func (a *audit) agreeEntry(n *network, have map[string]subnetsEntry) {
	e, ok := have[n.ID]
	delete(have, n.ID)
	var want []netip.Prefix
	for _, s := range n.Subnets {
		want = append(want, s.Prefix)
	}
	switch {
	case !ok:
		a.add(Missing, "record subnets", "network %s is not in it", n.ID)
	case e.Name != n.Name || !slices.Equal(e.Subnets, want):
		a.add(Wrong, "record subnets", "of network %s it says %s %v, want %s %v", n.ID, e.Name, e.Subnets, n.Name, want)
	}
}

func (a *audit) agreeOverlap(e, other subnetsEntry) {
	if e.Overlap || other.Overlap {
		return
	}
	for _, p := range e.Subnets {
		for _, q := range other.Subnets {
			if p.Overlaps(q) {
				a.add(Duplicate, "subnet "+p.String(), "networks %s and %s have it", e.ID, other.ID)
			}
		}
	}
}

// agreeJoins looks at the sandboxes that endpoints are joined to.
func (a *audit) agreeJoins() {
	for _, id := range slices.Sorted(maps.Keys(a.endpoints)) {
		ep := a.endpoints[id]
		if a.here(ep) && a.sandboxes[ep.Join.Sandbox] == nil {
			a.add(Wrong, "record "+path.Join("endpoints", ep.Network, ep.ID), "it is joined to sandbox %s, which does not exist", ep.Join.Sandbox)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.sandboxes)) {
		taken := owners{}
		for _, ep := range a.sandboxes[id].joined {
			taken.want("interface "+ep.Join.Interface, ep.ID)
			taken.want(fmt.Sprint("slot ", ep.Join.Slot), ep.ID)
		}
		for _, what := range slices.Sorted(maps.Keys(taken)) {
			if len(taken[what]) > 1 {
				a.add(Duplicate, what+" of sandbox "+id, "endpoints %s have it", strings.Join(taken[what], " and "))
			}
		}
	}
}
