package libcnm

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ipam"
	"github.com/libcnm/libcnm/store"
)

// firstVNI is where chosen VNIs start: numbers below are left to those who choose by hand, as libnetwork does.
const firstVNI = 4096

// otherStoreTimeout bounds the search for a name in the store that the network will not be in.
const otherStoreTimeout = 500 * time.Millisecond

// NewNetwork makes a network of the driver: "bridge", "host" and "null" for this node only, "ovs-vxlan" for the cluster,
// or what WithDriver added. Networks of cluster scope exist at once on every node, and take up something of a node only
// while an endpoint is joined there.
//
// The name is unique among the networks of its scope (ErrExists). A subnet that overlaps that of another network, or a
// route of this host, is ErrConflict and the text names the other, unless the driver keeps its networks apart from the
// host's address space, as ovs-vxlan does.
func (c *NetworkController) NewNetwork(ctx context.Context, driver, name string, opts ...NetworkOption) (_ *Network, err error) {
	defer wrap(&err, "create network", name)
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	if err := checkName("network name", name); err != nil {
		return nil, err
	}
	h, err := c.driver(driver)
	if err != nil {
		return nil, err
	}
	var cfg networkConfig
	if err := apply(&cfg, opts); err != nil {
		return nil, err
	}
	p, err := c.planNetwork(h, name, &cfg)
	if err != nil {
		return nil, err
	}
	if err := c.refuseName(ctx, p); err != nil {
		return nil, err
	}
	for {
		err := c.recordNetwork(ctx, p)
		if err == nil {
			break
		}
		if !errors.Is(err, errLostRace) {
			return nil, err
		}
	}
	n := &Network{c: c, host: h, rec: &p.rec}
	if h.info.Scope == drivers.ScopeLocal {
		if err := c.activateNew(ctx, n); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// networkPlan is a network on its way into the store.
type networkPlan struct {
	host *driverHost
	cfg  *networkConfig
	rec  networkRecord
	pick bool // subnets come from the address pools
}

// planNetwork does all that can be decided without a store or the host.
func (c *NetworkController) planNetwork(h *driverHost, name string, cfg *networkConfig) (*networkPlan, error) {
	info := h.info
	switch {
	case cfg.driver != "" && cfg.driver != info.Name:
		return nil, fmt.Errorf("options are of driver %s, the network's driver is %s: %w", printable(cfg.driver), info.Name, ErrInvalid)
	case !info.Addressing && (len(cfg.subnets) > 0 || len(cfg.gateways) > 0 || cfg.size4 != 0):
		return nil, fmt.Errorf("driver %s has no subnets: %w", info.Name, ErrUnsupported)
	case cfg.vni != 0 && !info.VNI:
		return nil, fmt.Errorf("driver %s has no VNIs: %w", info.Name, ErrUnsupported)
	case len(cfg.subnets) > 0 && (cfg.size4 != 0 || cfg.noIPv6):
		return nil, fmt.Errorf("subnets are given and also asked from the address pools: %w", ErrInvalid)
	}
	p := &networkPlan{host: h, cfg: cfg, pick: info.Addressing && len(cfg.subnets) == 0}
	p.rec = networkRecord{
		Version: recordVersion, ID: drivers.NetworkID(newID()), Name: name, Driver: info.Name,
		Internal: cfg.internal, MTU: cfg.mtu, VNI: cfg.vni, Labels: cfg.labels, Options: cfg.options,
	}
	for i, s := range cfg.subnets {
		for _, other := range cfg.subnets[:i] {
			if s.Prefix.Overlaps(other.Prefix) {
				return nil, fmt.Errorf("subnets %s and %s overlap: %w", other.Prefix, s.Prefix, ErrInvalid)
			}
		}
	}
	if info.VNI && cfg.vni == 0 {
		p.rec.VNI = randomVNI()
	}
	if !p.pick {
		subnets, err := completeSubnets(cfg.subnets, cfg.gateways)
		if err != nil {
			return nil, err
		}
		p.rec.Subnets = subnets
		if err := c.refuseUnderlay(p); err != nil {
			return nil, err
		}
		if err := h.Validate(p.rec.driverNetwork()); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// refuseUnderlay keeps an overlay's subnet from hiding the address that its own tunnels use.
func (c *NetworkController) refuseUnderlay(p *networkPlan) error {
	if !p.host.info.VNI || !c.tunnels() {
		return nil
	}
	for _, s := range p.rec.Subnets {
		if s.Prefix.Contains(c.node.VTEP) {
			return fmt.Errorf("subnet %s contains the underlay address %s of node %s: %w", s.Prefix, c.node.VTEP, c.node.Name, ErrConflict)
		}
	}
	return nil
}

// completeSubnets checks subnets and gives each its gateway.
func completeSubnets(given []subnetRecord, gateways []netip.Addr) ([]subnetRecord, error) {
	list := make([]subnetRecord, 0, len(given))
	for _, s := range given {
		if err := ipam.ValidateSubnet(s.Prefix); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	for _, g := range gateways {
		if err := placeGateway(list, g); err != nil {
			return nil, err
		}
	}
	for i := range list {
		s := &list[i]
		gateway, err := ipam.Gateway(s.Prefix, s.Gateway)
		if err != nil {
			return nil, err
		}
		s.Gateway = gateway
		if _, err := ipam.NewPool(s.poolConfig()); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func placeGateway(list []subnetRecord, g netip.Addr) error {
	for i := range list {
		s := &list[i]
		if !s.Prefix.Contains(g) {
			continue
		}
		if s.Gateway.IsValid() && s.Gateway != g {
			return fmt.Errorf("subnet %s is given two gateways, %s and %s: %w", s.Prefix, s.Gateway, g, ErrInvalid)
		}
		s.Gateway = g
		return nil
	}
	return fmt.Errorf("gateway %s is in none of the network's subnets: %w", g, ErrInvalid)
}

// poolConfig is what ipam needs to know of the subnet.
func (s *subnetRecord) poolConfig() ipam.Config {
	return ipam.Config{Subnet: s.Prefix, Range: s.Range, Gateway: s.Gateway, Auxiliary: s.Aux}
}

// errLostRace: another controller committed first; look again and repeat.
var errLostRace = errors.New("lost a race")

// refuseName finds a network of that name in either store. Only that of the network's own store is guarded by the
// commit: a cluster that does not answer must not keep a node from making local networks.
func (c *NetworkController) refuseName(ctx context.Context, p *networkPlan) error {
	own := c.storeOf(p.host)
	for _, st := range c.stores() {
		look, cancel := ctx, context.CancelFunc(func() {})
		if st != own {
			look, cancel = context.WithTimeout(ctx, otherStoreTimeout)
		}
		_, err := st.Get(look, keyNetworkName(p.rec.Name))
		cancel()
		switch {
		case err == nil:
			return fmt.Errorf("a network of that name: %w", ErrExists)
		case errors.Is(err, ErrNotFound), st != own && errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
		default:
			return err
		}
	}
	return nil
}

// recordNetwork tries to commit the network once.
func (c *NetworkController) recordNetwork(ctx context.Context, p *networkPlan) error {
	st := c.storeOf(p.host)
	var b batch
	if p.host.info.Addressing {
		if err := c.planSubnets(ctx, st, p, &b); err != nil {
			return err
		}
	}
	if p.pick {
		if err := p.host.Validate(p.rec.driverNetwork()); err != nil {
			return err
		}
	}
	id := string(p.rec.ID)
	b.create(put(keyNetwork(p.rec.ID), p.rec))
	b.create(ref(keyNetworkName(p.rec.Name), id))
	if p.rec.VNI != 0 {
		b.create(ref(keyVNI(p.rec.VNI), id))
	}
	if p.host.info.Singleton {
		b.create(ref(keySingleton(p.rec.Driver), id))
	}
	if b.err != nil {
		return b.err
	}
	_, err := st.Commit(ctx, b.guards, b.ops...)
	if errors.Is(err, ErrConflict) {
		return c.explainNetworkConflict(ctx, st, p)
	}
	return err
}

// explainNetworkConflict finds what stood in the way of a commit; errLostRace when it is worth another try.
func (c *NetworkController) explainNetworkConflict(ctx context.Context, st store.Store, p *networkPlan) error {
	if err := c.refuseName(ctx, p); err != nil {
		return err
	}
	if p.host.info.Singleton {
		if id, err := follow(ctx, st, keySingleton(p.rec.Driver)); err == nil {
			return fmt.Errorf("driver %s allows one network only, it is %s: %w", p.rec.Driver, c.describeNetwork(ctx, st, id), ErrExists)
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if p.cfg.vni != 0 {
		if id, err := follow(ctx, st, keyVNI(p.cfg.vni)); err == nil {
			return fmt.Errorf("VNI %d belongs to network %s: %w", p.cfg.vni, c.describeNetwork(ctx, st, id), ErrExists)
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if p.host.info.VNI && p.cfg.vni == 0 {
		p.rec.VNI = randomVNI()
	}
	return errLostRace
}

// describeNetwork names a network in an error text: by its name if that can be read.
func (c *NetworkController) describeNetwork(ctx context.Context, st store.Store, id string) string {
	n, err := c.loadNetwork(ctx, st, drivers.NetworkID(id))
	if err != nil {
		return id
	}
	return n.rec.Name
}

// randomVNI picks from a range so large that a collision, which the commit would find, is rare.
func randomVNI() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return firstVNI + binary.BigEndian.Uint32(b[:])%(maxVNI-firstVNI+1)
}

// activateNew tells the driver of a network of local scope that was just recorded, and takes the record back if it fails.
func (c *NetworkController) activateNew(ctx context.Context, n *Network) error {
	release, err := c.queue.Lock(ctx, networkTurn(n.rec.ID))
	if err == nil {
		defer release()
		if err = c.activate(ctx, n); err == nil {
			return nil
		}
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return errors.Join(err, c.deactivate(undo, n.rec.ID), n.unrecord(undo))
}
