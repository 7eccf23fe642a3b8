package libcnm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// Network is a handle on a network: endpoints that reach each other directly. What it tells never changes during the
// network's life. It stays valid as a value when the network is deleted; its methods then return ErrNotFound.
type Network struct {
	c    *NetworkController
	host *driverHost
	rec  *networkRecord // never changed
}

// Subnet is one address range of a network.
type Subnet struct {
	Prefix   netip.Prefix
	Gateway  netip.Addr            // zero: none
	Range    netip.Prefix          // zero: addresses are chosen from all of Prefix
	Reserved map[string]netip.Addr // by the names given to SubnetReserve
}

// ID returns the network's identity: 32 hexadecimal digits, never reused.
func (n *Network) ID() string { return string(n.rec.ID) }

// Name returns the name the network was made with.
func (n *Network) Name() string { return n.rec.Name }

// Driver returns the name of the network's driver.
func (n *Network) Driver() string { return n.rec.Driver }

// Internal reports whether the network has no traffic to or from outside.
func (n *Network) Internal() bool { return n.rec.Internal }

// MTU returns what WithMTU set, in bytes; 0 means it follows the host's underlay. What an endpoint really has is in its
// EndpointInfo.
func (n *Network) MTU() int { return n.rec.MTU }

// VNI returns the VXLAN network identifier; 0 for drivers without.
func (n *Network) VNI() uint32 { return n.rec.VNI }

// Labels returns a copy of the labels.
func (n *Network) Labels() map[string]string { return maps.Clone(n.rec.Labels) }

// Subnets returns the network's subnets in the order in which endpoints are given addresses from them.
func (n *Network) Subnets() []Subnet {
	list := make([]Subnet, 0, len(n.rec.Subnets))
	for _, s := range n.rec.Subnets {
		list = append(list, Subnet{Prefix: s.Prefix, Gateway: s.Gateway, Range: s.Range, Reserved: maps.Clone(s.Aux)})
	}
	return list
}

func (n *Network) store() store.Store { return n.c.storeOf(n.host) }

// Networks returns all networks: this node's and the cluster's, in the order of their IDs. One whose record cannot be read
// is not among them; Check names it.
func (c *NetworkController) Networks(ctx context.Context) (_ []*Network, err error) {
	defer wrap(&err, "list networks")
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	var list []*Network
	for _, st := range c.stores() {
		raws, _, err := st.List(ctx, dirNetworks)
		if err != nil {
			return nil, err
		}
		read, _ := readEach(c.unreadableIn(st), dirNetworks, raws, func(raw store.Record) (*Network, error) { return c.networkOf(st, raw) })
		list = append(list, read...)
	}
	return list, nil
}

// NetworkByName returns the network of that name, or ErrNotFound. This node's own networks come before the cluster's.
func (c *NetworkController) NetworkByName(ctx context.Context, name string) (_ *Network, err error) {
	defer wrap(&err, "find network", name)
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	if err := checkName("network name", name); err != nil {
		return nil, err
	}
	for _, st := range c.stores() {
		id, err := follow(ctx, st, keyNetworkName(name))
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n, err := c.loadNetwork(ctx, st, drivers.NetworkID(id))
		if errors.Is(err, ErrNotFound) {
			continue // deleted since
		}
		return n, err
	}
	return nil, ErrNotFound
}

// NetworkByID returns the network of that ID, or ErrNotFound.
func (c *NetworkController) NetworkByID(ctx context.Context, id string) (_ *Network, err error) {
	defer wrap(&err, "find network", id)
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	if !isID(id) {
		return nil, fmt.Errorf("network ID is not 32 hexadecimal digits: %w", ErrInvalid)
	}
	for _, st := range c.stores() {
		n, err := c.loadNetwork(ctx, st, drivers.NetworkID(id))
		if !errors.Is(err, ErrNotFound) {
			return n, err
		}
	}
	return nil, ErrNotFound
}

// follow reads the id that a name stands for.
func follow(ctx context.Context, st store.Store, key string) (string, error) {
	raw, err := st.Get(ctx, key)
	if err != nil {
		return "", err
	}
	r, err := decode[refRecord](raw)
	if err != nil {
		return "", err
	}
	return r.value.ID, nil
}

func (c *NetworkController) loadNetwork(ctx context.Context, st store.Store, id drivers.NetworkID) (*Network, error) {
	raw, err := st.Get(ctx, keyNetwork(id))
	if err != nil {
		return nil, err
	}
	return c.networkOf(st, raw)
}

// networkOf reads a network's record. One that its driver would not have taken, or whose driver keeps its networks in the
// other store, is not a network.
func (c *NetworkController) networkOf(st store.Store, raw store.Record) (*Network, error) {
	r, err := decode[networkRecord](raw)
	if err != nil {
		return nil, err
	}
	n := &Network{c: c, host: c.driverOf(&r.value), rec: &r.value}
	if c.drivers[r.value.Driver] == nil {
		return n, nil
	}
	if n.store() != st {
		return nil, badRecord(raw.Key, fmt.Errorf("networks of driver %s are in the %s store", r.value.Driver, n.host.info.Scope))
	}
	if err := n.host.Validate(r.value.driverNetwork()); err != nil {
		return nil, badRecord(raw.Key, err)
	}
	return n, nil
}

// Delete removes the network, on every node. It must have no endpoints: else ErrInUse names one.
func (n *Network) Delete(ctx context.Context) (err error) {
	defer wrap(&err, "delete network", n.rec.Name)
	exit, err := n.c.enter()
	if err != nil {
		return err
	}
	defer exit()
	release, err := n.c.queue.Lock(ctx, networkTurn(n.rec.ID))
	if err != nil {
		return err
	}
	defer release()
	err = n.unrecord(ctx)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	// Also when there is no record: that may be the work of a Delete that had no answer.
	n.c.allocs.drop(n.rec.ID)
	if n.host.info.Scope == drivers.ScopeLocal {
		err = errors.Join(err, n.c.deactivate(ctx, n.rec.ID))
	}
	return err
}

// unrecord takes the network out of its store, if nothing is in it.
func (n *Network) unrecord(ctx context.Context) error {
	st, id := n.store(), n.rec.ID
	for {
		raw, err := st.Get(ctx, keyNetwork(id))
		if err != nil {
			return err
		}
		net, err := decode[networkRecord](raw)
		if err != nil {
			return err
		}
		var b batch
		g, err := net.unchanged()
		if err != nil {
			return err
		}
		b.guard(g)
		b.guard(store.AbsentPrefix(dirEndpoints(id)))
		b.op(store.Delete(keyNetwork(id)))
		b.op(store.Delete(keyNetworkName(n.rec.Name)))
		b.op(store.DeletePrefix(dirClaims(id)))
		if n.rec.VNI != 0 {
			b.op(store.Delete(keyVNI(n.rec.VNI)))
		}
		if n.host.info.Singleton {
			b.op(store.Delete(keySingleton(n.rec.Driver)))
		}
		if len(n.rec.Subnets) > 0 {
			if err := b.withoutSubnets(ctx, st, id); err != nil {
				return err
			}
		}
		_, err = st.Commit(ctx, b.guards, b.ops...)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := n.refuseInUse(ctx); err != nil {
			return err
		}
	}
}

// refuseInUse names an endpoint that keeps the network.
func (n *Network) refuseInUse(ctx context.Context) error {
	l, err := n.listEndpoints(ctx)
	eps, bad := l.endpoints, l.unreadable
	switch {
	case err != nil:
		return err
	case len(bad) > 0:
		return fmt.Errorf("it has %d endpoints whose records cannot be read, one is %s: %w", len(bad), bad[0], ErrInUse)
	case len(eps) == 0:
		return nil
	}
	where := "joined nowhere"
	if j := eps[0].value.Join; j != nil {
		where = "joined on node " + j.Node
	}
	return fmt.Errorf("it has %d endpoints, one is %s, %s: %w", len(eps), eps[0].value.Name, where, ErrInUse)
}

// listing is a network's endpoints at one revision.
type listing struct {
	endpoints  []*stored[endpointRecord]
	unreadable []string // keys of those that cannot be read
	rev        store.Rev
}

func (n *Network) listEndpoints(ctx context.Context) (listing, error) {
	prefix := dirEndpoints(n.rec.ID)
	raws, rev, err := n.store().List(ctx, prefix)
	if err != nil {
		return listing{}, err
	}
	l := listing{rev: rev}
	l.endpoints, l.unreadable = readEach(n.c.unreadableIn(n.store()), prefix, raws, n.decodeEndpoint)
	return l, nil
}

// Endpoints returns the network's endpoints on all nodes, in the order of their IDs. One whose record cannot be read is not
// among them; Check names it.
func (n *Network) Endpoints(ctx context.Context) (_ []*Endpoint, err error) {
	defer wrap(&err, "list endpoints of network", n.rec.Name)
	exit, err := n.c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	l, err := n.listEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]*Endpoint, 0, len(l.endpoints))
	for _, s := range l.endpoints {
		list = append(list, n.endpoint(s))
	}
	return list, nil
}

// EndpointByName returns the endpoint of that name, or ErrNotFound.
func (n *Network) EndpointByName(ctx context.Context, name string) (_ *Endpoint, err error) {
	defer wrap(&err, "find endpoint", name)
	exit, err := n.c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	if err := checkName("endpoint name", name); err != nil {
		return nil, err
	}
	id, err := follow(ctx, n.store(), keyEndpointName(n.rec.ID, name))
	if err != nil {
		return nil, err
	}
	return n.loadEndpoint(ctx, drivers.EndpointID(id))
}

// EndpointByID returns the endpoint of that ID, or ErrNotFound.
func (n *Network) EndpointByID(ctx context.Context, id string) (_ *Endpoint, err error) {
	defer wrap(&err, "find endpoint", id)
	exit, err := n.c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	if !isID(id) {
		return nil, fmt.Errorf("endpoint ID is not 32 hexadecimal digits: %w", ErrInvalid)
	}
	return n.loadEndpoint(ctx, drivers.EndpointID(id))
}

func (n *Network) loadEndpoint(ctx context.Context, id drivers.EndpointID) (*Endpoint, error) {
	s, err := n.readEndpoint(ctx, id)
	if err != nil {
		return nil, err
	}
	return n.endpoint(s), nil
}

func (n *Network) readEndpoint(ctx context.Context, id drivers.EndpointID) (*stored[endpointRecord], error) {
	raw, err := n.store().Get(ctx, keyEndpoint(n.rec.ID, id))
	if err != nil {
		return nil, err
	}
	return n.decodeEndpoint(raw)
}

// decodeEndpoint reads the record of an endpoint that may be in the network.
func (n *Network) decodeEndpoint(raw store.Record) (*stored[endpointRecord], error) {
	s, err := decode[endpointRecord](raw)
	if err != nil {
		return nil, err
	}
	if err := n.rec.checkEndpoint(&s.value); err != nil {
		return nil, badRecord(raw.Key, err)
	}
	return s, nil
}
