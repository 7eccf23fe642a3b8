package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
)

// cnm is libcnm as its users call it: defaults, a driver with its firewall, the stores on disk.
type cnm struct {
	ctrl   *libcnm.NetworkController
	driver string
	net    *libcnm.Network // nil: each endpoint gets a network of its own
}

const networkName = "bench"

// secondEndpoint, added to the number of an endpoint with a network of its own, is that of another one in the same network.
const secondEndpoint = 1 << 12

func openLibcnm(ctx context.Context, s setup) (contender, error) {
	opts := []libcnm.Option{libcnm.WithNode(s.Node, s.Underlay), libcnm.WithDataDir(filepath.Join(s.DataDir, "libcnm"))}
	if s.Quiet {
		opts = append(opts, libcnm.WithCheckInterval(time.Hour))
	}
	c := &cnm{driver: "bridge"}
	if s.Kind != kindLibcnm {
		c.driver = "ovs-vxlan"
		opts = append(opts, libcnm.WithEtcd(clientv3.Config{Endpoints: s.Etcd}))
	}
	var err error
	if c.ctrl, err = libcnm.New(ctx, opts...); err != nil {
		return nil, err
	}
	if s.Kind == kindNetworks {
		return c, nil
	}
	subnets := []netip.Prefix{netip.MustParsePrefix(subnetText)}
	if s.Dual {
		subnets = append(subnets, netip.MustParsePrefix(subnet6Text))
	}
	if c.net, err = c.network(ctx, networkName, subnets...); err != nil {
		return nil, errors.Join(err, c.ctrl.Close())
	}
	return c, nil
}

// network makes a network, or finds that of an earlier controller or another node.
func (c *cnm) network(ctx context.Context, name string, subnets ...netip.Prefix) (*libcnm.Network, error) {
	opts := make([]libcnm.NetworkOption, len(subnets))
	for i, s := range subnets {
		opts[i] = libcnm.WithSubnet(s)
	}
	n, err := c.ctrl.NewNetwork(ctx, c.driver, name, opts...)
	if errors.Is(err, libcnm.ErrExists) {
		return c.ctrl.NetworkByName(ctx, name)
	}
	return n, err
}

func (c *cnm) Up(ctx context.Context, name string) error {
	n := c.net
	if n == nil {
		i, err := strconv.ParseUint(strings.TrimPrefix(name, namePrefix), 10, 16)
		if err != nil {
			return fmt.Errorf("number of %s: %w", name, err)
		}
		i %= secondEndpoint
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		if n, err = c.network(ctx, endpointName(int(i)), subnet); err != nil {
			return err
		}
	}
	sb, err := c.ctrl.NewSandbox(ctx, name)
	if err != nil {
		return err
	}
	ep, err := n.CreateEndpoint(ctx, name)
	if err != nil {
		return err
	}
	return ep.Join(ctx, sb)
}

func (c *cnm) Down(ctx context.Context, name string) error {
	sb, err := c.ctrl.SandboxByContainer(name)
	if err != nil {
		return err
	}
	for _, ep := range sb.Endpoints() {
		if err := ep.Leave(ctx, sb); err != nil {
			return err
		}
		if err := ep.Delete(ctx); err != nil {
			return err
		}
	}
	return sb.Delete(ctx)
}

func (c *cnm) Close() error { return c.ctrl.Close() }

// place is where an endpoint is found: its addresses, and the path of its namespace.
type place struct {
	Addr  netip.Addr // of IPv4
	Addr6 netip.Addr // zero: none
	Path  string
}

func (c *cnm) place(name string) (place, error) {
	sb, err := c.ctrl.SandboxByContainer(name)
	if err != nil {
		return place{}, err
	}
	at := place{Path: sb.Key()}
	for _, ep := range sb.Endpoints() {
		for _, p := range ep.Info().Addresses {
			if p.Addr().Is4() {
				at.Addr = p.Addr()
			} else {
				at.Addr6 = p.Addr()
			}
		}
	}
	if !at.Addr.IsValid() {
		return place{}, fmt.Errorf("%s has no endpoint with an IPv4 address: %w", name, libcnm.ErrNotFound)
	}
	return at, nil
}
