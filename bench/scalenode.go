package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
)

// simNode is a node of a simulated cluster: a real controller with stores of its own, whose driver programs memory.
type simNode struct {
	number  int
	cluster *simCluster
	host    *drivertest.FakeHost
	traffic traffic

	told    atomic.Int64 // calls of the driver about peers
	foreign atomic.Int64 // calls of the driver about networks that the node is not in

	ctrl *libcnm.NetworkController
}

// simInfo is what ovs-vxlan says of itself, but that its sandboxes are in the host's namespace, where they cost a record
// and three files instead of a namespace.
var simInfo = drivers.Info{
	Name: "simulated", Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true, HostNetNS: true,
}

func newSimNode(c *simCluster, number int) *simNode {
	n := &simNode{number: number, cluster: c, host: drivertest.NewFakeHost()}
	n.traffic.member = func(network string) bool { return n.member(drivers.NetworkID(network)) }
	return n
}

func (n *simNode) member(id drivers.NetworkID) bool {
	network, ok := n.cluster.network(id)
	return ok && n.cluster.layout.in(n.number, network)
}

// open starts the controller, which for one with a past is its restart, and returns how long that took.
func (n *simNode) open(ctx context.Context, more ...libcnm.Option) (time.Duration, error) {
	dir := filepath.Join(n.cluster.dir, scaleNodeName(n.number))
	start := time.Now()
	ctrl, err := libcnm.New(ctx, append([]libcnm.Option{
		libcnm.WithNode(scaleNodeName(n.number), scaleUnderlay(n.number)),
		libcnm.WithDataDir(filepath.Join(dir, "data")), libcnm.WithRunDir(filepath.Join(dir, "run")),
		// On a host of its own, a node's look at it from time to time would take none of the others' CPU.
		libcnm.WithCheckInterval(time.Hour),
		libcnm.WithDriver(simDriver{drivertest.NewFake(drivertest.FakeConfig{Info: simInfo, Host: n.host}), n}),
		libcnm.WithEtcd(clientv3.Config{Endpoints: n.cluster.etcd.Endpoints(), DialOptions: n.traffic.options()}),
	}, more...)...)
	if err != nil {
		return 0, err
	}
	n.ctrl = ctrl
	return time.Since(start), nil
}

func (n *simNode) close() error {
	if n.ctrl == nil {
		return nil
	}
	ctrl := n.ctrl
	n.ctrl = nil
	return ctrl.Close()
}

// restart is what an update of libcnm does to a node.
func (n *simNode) restart(ctx context.Context) (time.Duration, error) {
	if err := n.close(); err != nil {
		return 0, err
	}
	return n.open(ctx)
}

// fill brings up the node's containers. Nobody follows how the news of them gets around.
func (n *simNode) fill(ctx context.Context) error {
	for _, network := range n.cluster.layout.networks[n.number] {
		in, err := n.ctrl.NetworkByName(ctx, scaleNetworkName(network))
		if err != nil {
			return err
		}
		for i := range scalePerNetwork {
			ep, sb, err := n.create(ctx, in, fmt.Sprintf("c%d-%d-%d", n.number, network, i))
			if err != nil {
				return err
			}
			if err := ep.Join(ctx, sb); err != nil {
				return err
			}
		}
	}
	return nil
}

// up brings up one more container, and returns how the news of it gets around.
func (n *simNode) up(ctx context.Context, network int, name string) (*wave, error) {
	in, err := n.ctrl.NetworkByName(ctx, scaleNetworkName(network))
	if err != nil {
		return nil, err
	}
	ep, sb, err := n.create(ctx, in, name)
	if err != nil {
		return nil, err
	}
	w := n.cluster.waves.begin(drivers.EndpointID(ep.ID()), n.number, n.cluster.layout.nodes[network])
	return w, ep.Join(ctx, sb)
}

func (n *simNode) create(ctx context.Context, in *libcnm.Network, name string) (*libcnm.Endpoint, *libcnm.Sandbox, error) {
	sb, err := n.ctrl.NewSandbox(ctx, name, libcnm.WithHostNetwork())
	if err != nil {
		return nil, nil, err
	}
	ep, err := in.CreateEndpoint(ctx, name)
	return ep, sb, err
}

func (n *simNode) down(ctx context.Context, name string) error {
	return (&cnm{ctrl: n.ctrl}).Down(ctx, name)
}

// simDriver counts what its node's driver is asked for, and says when it has been told of peers.
type simDriver struct {
	drivers.Driver
	node *simNode
}

func (d simDriver) Unwrap() drivers.Driver { return d.Driver }

// about notes a call about a network.
func (d simDriver) about(id drivers.NetworkID) {
	if !d.node.member(id) {
		d.node.foreign.Add(1)
	}
}

func (d simDriver) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	d.about(n.ID)
	return d.Driver.ApplyNetwork(ctx, n)
}

func (d simDriver) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	d.about(id)
	return d.Driver.RemoveNetwork(ctx, id)
}

// ApplyEndpoint makes no interface: the host is memory.
func (d simDriver) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	d.about(ep.Network)
	made, err := d.Driver.ApplyEndpoint(ctx, ep)
	made.Interface = ""
	return made, err
}

func (d simDriver) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	d.about(n)
	return d.Driver.RemoveEndpoint(ctx, n, ep)
}

func (d simDriver) Sync(ctx context.Context, want []drivers.NetworkState) error {
	for _, s := range want {
		d.about(s.Network.ID)
	}
	return d.Driver.Sync(ctx, want)
}

func (d simDriver) ApplyPeers(ctx context.Context, id drivers.NetworkID, u drivers.PeerUpdate) error {
	d.about(id)
	d.node.told.Add(1)
	peers, ok := d.Driver.(drivers.PeerApplier)
	if !ok {
		return fmt.Errorf("apply peers of network %s: %w", id, errors.ErrUnsupported)
	}
	if err := peers.ApplyPeers(ctx, id, u); err != nil {
		return err
	}
	d.node.cluster.waves.told(d.node.number, u.Set)
	return nil
}
