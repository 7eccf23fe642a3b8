package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/docker/docker/libnetwork"
	nwconfig "github.com/docker/docker/libnetwork/config"
	"github.com/docker/docker/libnetwork/netlabel"
	"github.com/docker/docker/libnetwork/options"
)

// docker is libnetwork with the options that dockerd gives it, less the userland proxy, which no endpoint here needs. On
// a network that a user made, as here, every sandbox gets a DNS server; without it is how dockerd runs its default one.
type docker struct {
	ctrl  *libnetwork.Controller
	net   *libnetwork.Network
	dir   string
	plain bool

	mu        sync.Mutex
	sandboxes map[string]*libnetwork.Sandbox
}

func openLibnetwork(ctx context.Context, s setup) (contender, error) {
	dir := filepath.Join(s.DataDir, "libnetwork")
	ctrl, err := libnetwork.New(ctx,
		nwconfig.OptionDataDir(dir),
		nwconfig.OptionExecRoot("/run/docker"),
		nwconfig.OptionDefaultDriver("bridge"),
		nwconfig.OptionDefaultNetwork("bridge"),
		nwconfig.OptionDriverConfig("bridge", options.Generic{netlabel.GenericData: options.Generic{
			"EnableIPForwarding":  true,
			"EnableIPTables":      true,
			"EnableIP6Tables":     true,
			"EnableUserlandProxy": false,
		}}))
	if err != nil {
		return nil, err
	}
	conf := []*libnetwork.IpamConf{{PreferredPool: subnetText, Gateway: gatewayText}}
	n, err := ctrl.NewNetwork(ctx, "bridge", "bench", "",
		libnetwork.NetworkOptionEnableIPv4(true),
		libnetwork.NetworkOptionIpam("default", "", conf, nil, nil))
	if err != nil {
		ctrl.Stop()
		return nil, err
	}
	return &docker{
		ctrl: ctrl, net: n, dir: dir, plain: s.Kind == kindPlain, sandboxes: make(map[string]*libnetwork.Sandbox),
	}, nil
}

func (d *docker) Up(ctx context.Context, name string) error {
	sb, err := d.ctrl.NewSandbox(ctx, name,
		libnetwork.OptionHostname(name),
		libnetwork.OptionHostsPath(filepath.Join(d.dir, "containers", name, "hosts")),
		libnetwork.OptionResolvConfPath(filepath.Join(d.dir, "containers", name, "resolv.conf")))
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.sandboxes[name] = sb
	d.mu.Unlock()
	opts := []libnetwork.EndpointOption{libnetwork.CreateOptionDNSNames([]string{name})}
	if path, ok := sb.NetnsPath(); ok {
		opts = append(opts, libnetwork.WithNetnsPath(path))
	}
	if d.plain {
		opts = append(opts, libnetwork.CreateOptionDisableResolution())
	}
	ep, err := d.net.CreateEndpoint(ctx, name, opts...)
	if err != nil {
		return err
	}
	return ep.Join(ctx, sb)
}

func (d *docker) Down(ctx context.Context, name string) error {
	d.mu.Lock()
	sb := d.sandboxes[name]
	delete(d.sandboxes, name)
	d.mu.Unlock()
	if sb == nil {
		return fmt.Errorf("down %s: there is no such sandbox", name)
	}
	var errs []error
	for _, ep := range sb.Endpoints() {
		errs = append(errs, ep.Leave(ctx, sb), ep.Delete(ctx, false))
	}
	return errors.Join(append(errs, sb.Delete(ctx))...)
}

func (d *docker) place(name string) (place, error) {
	d.mu.Lock()
	sb := d.sandboxes[name]
	d.mu.Unlock()
	if sb == nil {
		return place{}, fmt.Errorf("place of %s: there is no such sandbox", name)
	}
	for _, ep := range sb.Endpoints() {
		if addr, ok := netip.AddrFromSlice(ep.Info().Iface().Address().IP.To4()); ok {
			return place{Addr: addr, Path: sb.Key()}, nil
		}
	}
	return place{}, fmt.Errorf("place of %s: it has no endpoint with an IPv4 address", name)
}

func (d *docker) Close() error {
	d.ctrl.Stop()
	return nil
}
