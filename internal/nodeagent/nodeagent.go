// Package nodeagent is a controller in a process of its own on a host of the test rig: tests and the demonstration call
// it over a pipe, kill it, and start it again. It is a small example of what an embedding daemon does.
package nodeagent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

// Open says how to start the controller. Directories are those of the library's defaults, which are the host's own.
type Open struct {
	Node     string     `json:"node"`
	Underlay netip.Addr `json:"underlay"`
	Etcd     []string   `json:"etcd,omitempty"` // none: the local store
	OVSDB    string     `json:"ovsdb,omitempty"`
	Rebuild  bool       `json:"rebuild,omitempty"` // WithRebuild
	// TTL is WithNodeTTL; 0: the default.
	TTL time.Duration `json:"ttl,omitempty"`
}

// Network says what network to make.
type Network struct {
	Driver   string         `json:"driver"`
	Name     string         `json:"name"`
	Subnets  []netip.Prefix `json:"subnets,omitempty"`
	Internal bool           `json:"internal,omitempty"`
	MTU      int            `json:"mtu,omitempty"`
}

// NetworkInfo is what the agent tells of a network.
type NetworkInfo struct {
	ID      string         `json:"id"`
	Driver  string         `json:"driver"`
	VNI     uint32         `json:"vni,omitempty"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
}

// Endpoint names an endpoint, and says how to make it.
type Endpoint struct {
	Network string       `json:"network"`
	Name    string       `json:"name"`
	Addrs   []netip.Addr `json:"addrs,omitempty"`
	Force   bool         `json:"force,omitempty"`
}

// Join names an endpoint and the container whose sandbox it joins or leaves.
type Join struct {
	Endpoint
	Container string `json:"container"`
}

// Sandbox is what the agent tells of a sandbox.
type Sandbox struct {
	Container string                `json:"container"`
	Key       string                `json:"key"`
	Endpoints []libcnm.EndpointInfo `json:"endpoints,omitempty"`
}

// none stands for no parameters and no result.
type none struct{}

// daemon is the process's controller.
type daemon struct {
	mu   sync.Mutex // guards ctrl
	ctrl *libcnm.NetworkController
}

// Handlers returns the agent's methods, for testutil.Agent.
func Handlers() map[string]agent.Handler {
	d := new(daemon)
	return map[string]agent.Handler{
		"open":            agent.Handle(d.open),
		"close":           agent.Handle(d.close),
		"network.create":  agent.Handle(d.createNetwork),
		"network.delete":  agent.Handle(d.deleteNetwork),
		"network.info":    agent.Handle(d.networkInfo),
		"network.list":    agent.Handle(d.listNetworks),
		"endpoint.create": agent.Handle(d.createEndpoint),
		"endpoint.delete": agent.Handle(d.deleteEndpoint),
		"endpoint.info":   agent.Handle(d.endpointInfo),
		"sandbox.create":  agent.Handle(d.createSandbox),
		"sandbox.delete":  agent.Handle(d.deleteSandbox),
		"sandbox.list":    agent.Handle(d.listSandboxes),
		"join":            agent.Handle(d.join),
		"leave":           agent.Handle(d.leave),
		"check":           agent.Handle(d.check),
		"reconcile":       agent.Handle(d.reconcile),
		"stats":           agent.Handle(d.stats),
		"nodes":           agent.Handle(d.nodes),
		"release":         agent.Handle(d.release),
	}
}

func (d *daemon) open(ctx context.Context, o Open) (none, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctrl != nil {
		return none{}, fmt.Errorf("controller of node %s: %w", o.Node, libcnm.ErrExists)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", o.Node)
	opts := []libcnm.Option{libcnm.WithNode(o.Node, o.Underlay), libcnm.WithLogger(log)}
	if len(o.Etcd) > 0 {
		opts = append(opts, libcnm.WithEtcd(clientv3.Config{Endpoints: o.Etcd}))
	}
	if o.OVSDB != "" {
		opts = append(opts, libcnm.WithOVSDB(o.OVSDB))
	}
	if o.TTL > 0 {
		opts = append(opts, libcnm.WithNodeTTL(o.TTL))
	}
	if o.Rebuild {
		opts = append(opts, libcnm.WithRebuild())
	}
	ctrl, err := libcnm.New(ctx, opts...)
	if err != nil {
		return none{}, err
	}
	d.ctrl = ctrl
	return none{}, nil
}

func (d *daemon) controller() (*libcnm.NetworkController, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctrl == nil {
		return nil, fmt.Errorf("controller is not open: %w", libcnm.ErrUnavailable)
	}
	return d.ctrl, nil
}

func (d *daemon) close(context.Context, none) (none, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctrl == nil {
		return none{}, nil
	}
	err := d.ctrl.Close()
	d.ctrl = nil
	return none{}, err
}

func (d *daemon) createNetwork(ctx context.Context, p Network) (string, error) {
	c, err := d.controller()
	if err != nil {
		return "", err
	}
	var opts []libcnm.NetworkOption
	for _, s := range p.Subnets {
		opts = append(opts, libcnm.WithSubnet(s))
	}
	if p.Internal {
		opts = append(opts, libcnm.WithInternal())
	}
	if p.MTU != 0 {
		opts = append(opts, libcnm.WithMTU(p.MTU))
	}
	n, err := c.NewNetwork(ctx, p.Driver, p.Name, opts...)
	if err != nil {
		return "", err
	}
	return n.ID(), nil
}

func (d *daemon) network(ctx context.Context, name string) (*libcnm.Network, error) {
	c, err := d.controller()
	if err != nil {
		return nil, err
	}
	return c.NetworkByName(ctx, name)
}

func (d *daemon) networkInfo(ctx context.Context, name string) (NetworkInfo, error) {
	n, err := d.network(ctx, name)
	if err != nil {
		return NetworkInfo{}, err
	}
	info := NetworkInfo{ID: n.ID(), Driver: n.Driver(), VNI: n.VNI()}
	for _, s := range n.Subnets() {
		info.Subnets = append(info.Subnets, s.Prefix)
	}
	return info, nil
}

func (d *daemon) deleteNetwork(ctx context.Context, name string) (none, error) {
	n, err := d.network(ctx, name)
	if err != nil {
		return none{}, err
	}
	return none{}, n.Delete(ctx)
}

func (d *daemon) createEndpoint(ctx context.Context, p Endpoint) (libcnm.EndpointInfo, error) {
	n, err := d.network(ctx, p.Network)
	if err != nil {
		return libcnm.EndpointInfo{}, err
	}
	ep, err := n.CreateEndpoint(ctx, p.Name, libcnm.WithIP(p.Addrs...))
	if err != nil {
		return libcnm.EndpointInfo{}, err
	}
	return ep.Info(), nil
}

func (d *daemon) endpoint(ctx context.Context, p Endpoint) (*libcnm.Endpoint, error) {
	n, err := d.network(ctx, p.Network)
	if err != nil {
		return nil, err
	}
	return n.EndpointByName(ctx, p.Name)
}

func (d *daemon) deleteEndpoint(ctx context.Context, p Endpoint) (none, error) {
	ep, err := d.endpoint(ctx, p)
	if err != nil {
		return none{}, err
	}
	if p.Force {
		return none{}, ep.Delete(ctx, libcnm.WithForce())
	}
	return none{}, ep.Delete(ctx)
}

func (d *daemon) endpointInfo(ctx context.Context, p Endpoint) (libcnm.EndpointInfo, error) {
	ep, err := d.endpoint(ctx, p)
	if err != nil {
		return libcnm.EndpointInfo{}, err
	}
	return ep.Info(), nil
}

func (d *daemon) createSandbox(ctx context.Context, container string) (Sandbox, error) {
	c, err := d.controller()
	if err != nil {
		return Sandbox{}, err
	}
	sb, err := c.NewSandbox(ctx, container)
	if err != nil {
		return Sandbox{}, err
	}
	return describe(sb), nil
}

func (d *daemon) deleteSandbox(ctx context.Context, container string) (none, error) {
	c, err := d.controller()
	if err != nil {
		return none{}, err
	}
	sb, err := c.SandboxByContainer(container)
	if err != nil {
		return none{}, err
	}
	return none{}, sb.Delete(ctx)
}

func (d *daemon) listSandboxes(context.Context, none) ([]Sandbox, error) {
	c, err := d.controller()
	if err != nil {
		return nil, err
	}
	var list []Sandbox
	for _, sb := range c.Sandboxes() {
		list = append(list, describe(sb))
	}
	return list, nil
}

func describe(sb *libcnm.Sandbox) Sandbox {
	s := Sandbox{Container: sb.ContainerID(), Key: sb.Key()}
	for _, ep := range sb.Endpoints() {
		s.Endpoints = append(s.Endpoints, ep.Info())
	}
	return s
}

// membership finds the two sides of a join.
func (d *daemon) membership(ctx context.Context, p Join) (*libcnm.Endpoint, *libcnm.Sandbox, error) {
	c, err := d.controller()
	if err != nil {
		return nil, nil, err
	}
	ep, err := d.endpoint(ctx, p.Endpoint)
	if err != nil {
		return nil, nil, err
	}
	sb, err := c.SandboxByContainer(p.Container)
	return ep, sb, err
}

func (d *daemon) join(ctx context.Context, p Join) (libcnm.EndpointInfo, error) {
	ep, sb, err := d.membership(ctx, p)
	if err != nil {
		return libcnm.EndpointInfo{}, err
	}
	if err := ep.Join(ctx, sb); err != nil {
		return libcnm.EndpointInfo{}, err
	}
	return ep.Info(), nil
}

func (d *daemon) leave(ctx context.Context, p Join) (none, error) {
	ep, sb, err := d.membership(ctx, p)
	if err != nil {
		return none{}, err
	}
	return none{}, ep.Leave(ctx, sb)
}

func (d *daemon) check(ctx context.Context, _ none) ([]string, error) {
	c, err := d.controller()
	if err != nil {
		return nil, err
	}
	found, err := c.Check(ctx)
	var list []string
	for _, drift := range found {
		list = append(list, drift.String())
	}
	return list, err
}

func (d *daemon) reconcile(ctx context.Context, _ none) (none, error) {
	c, err := d.controller()
	if err != nil {
		return none{}, err
	}
	return none{}, c.Reconcile(ctx)
}

func (d *daemon) stats(context.Context, none) (libcnm.Stats, error) {
	c, err := d.controller()
	if err != nil {
		return libcnm.Stats{}, err
	}
	return c.Stats(), nil
}

func (d *daemon) nodes(ctx context.Context, _ none) ([]libcnm.NodeInfo, error) {
	c, err := d.controller()
	if err != nil {
		return nil, err
	}
	return c.Nodes(ctx)
}

func (d *daemon) release(ctx context.Context, node string) (none, error) {
	c, err := d.controller()
	if err != nil {
		return none{}, err
	}
	return none{}, c.Release(ctx, node)
}
