package libcnm

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// NodeInfo describes a node of the cluster. Of one that is not alive only the name is known, and how many endpoints
// it has.
type NodeInfo struct {
	Name     string
	Underlay netip.Addr // where others send tunnel packets; zero: it has no such address
	MTU      int        // of the underlay, in bytes
	Version  string     // of libcnm
	Boot     string     // the kernel's boot ID
	Alive    bool       // its lease lives; false: it is dead, or has been cut off from the cluster's store for longer than its TTL
	Self     bool       // it is this controller's
	// Endpoints is how many are joined there, of the networks in the cluster's store.
	Endpoints int
}

// Nodes returns the nodes of the cluster in the order of their names: those that are alive, and those that are not but
// still have endpoints, which Release frees. A dead node without endpoints is forgotten. Without a cluster it is this
// node alone.
func (c *NetworkController) Nodes(ctx context.Context) (_ []NodeInfo, err error) {
	defer wrap(&err, "list nodes")
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	// Members first: a node that registers and joins in between must not look like one that is dead.
	members, _, err := c.cluster.List(ctx, dirAllMembers)
	if err != nil {
		return nil, err
	}
	live, _, err := c.cluster.List(ctx, dirNodes)
	if err != nil {
		return nil, err
	}
	self := c.node.info()
	self.Self, self.Alive = true, c.cluster == c.local
	byName := map[string]*NodeInfo{self.Name: &self}
	for _, raw := range live {
		name, ok := nodeOf(raw.Key)
		if !ok {
			continue
		}
		if name == self.Name {
			self.Alive = true
			continue
		}
		rec := c.peers.read(c, name, raw)
		info := rec.info()
		info.Name, info.Alive = name, true
		byName[name] = &info
	}
	for _, raw := range members {
		name, _, _ := strings.Cut(strings.TrimPrefix(raw.Key, dirAllMembers), "/")
		if _, ok := memberNetwork(raw.Key); !ok || checkName("node name", name) != nil {
			continue
		}
		if byName[name] == nil {
			byName[name] = &NodeInfo{Name: name}
		}
		byName[name].Endpoints++
	}
	list := make([]NodeInfo, 0, len(byName))
	for _, info := range byName {
		list = append(list, *info)
	}
	slices.SortFunc(list, func(a, b NodeInfo) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (r *nodeRecord) info() NodeInfo {
	return NodeInfo{Name: r.Name, Underlay: r.VTEP, MTU: r.MTU, Version: r.Release, Boot: r.Boot}
}
