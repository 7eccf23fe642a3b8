package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/libcnm/libcnm/drivers"
)

// FakeConfig describes a fake. The zero value is a local driver "fake" on a host of its own.
type FakeConfig struct {
	// Info is what the fake says of itself. With an empty Name it is that of a local driver "fake" with addresses.
	// Only a fake with cluster scope implements drivers.PeerApplier.
	Info drivers.Info
	// Host is what the fake programs; nil makes a new one.
	Host *FakeHost
	// Fault is called before each change of the host with the change's name, such as "add endpoint <id> link" or
	// "delete network <id>". An error stops the method; a Fault that blocks delays it. It may be called from
	// several goroutines at once.
	Fault func(step string) error
}

// FakeOptions are the options of a network made by a fake.
type FakeOptions struct {
	Tag string `json:"tag,omitempty"`
}

// DriverName is "fake".
func (FakeOptions) DriverName() string { return "fake" }

// fakeMTU is what a fake derives from its imaginary host.
const fakeMTU = 1500

// NewFake makes a driver whose host is memory. It holds itself to every law of this package, keeps no state but the
// host's, and may be used by any number of goroutines. The result implements drivers.Notifier.
func NewFake(cfg FakeConfig) drivers.Driver {
	if cfg.Info.Name == "" {
		cfg.Info = drivers.Info{Name: "fake", Scope: drivers.ScopeLocal, Addressing: true}
	}
	if cfg.Host == nil {
		cfg.Host = NewFakeHost()
	}
	f := &fake{info: cfg.Info, host: cfg.Host, fault: cfg.Fault, events: make(chan string, 1)}
	cfg.Host.register(f)
	if cfg.Info.Scope == drivers.ScopeCluster {
		return &clusterFake{f}
	}
	return f
}

// fake is a driver of local scope.
type fake struct {
	info   drivers.Info
	host   *FakeHost
	fault  func(string) error
	closed atomic.Bool
	events chan string // the host sends and closes, under its mutex
}

// clusterFake adds peers.
type clusterFake struct{ *fake }

func (f *fake) Info() drivers.Info { return f.info }

func (f *fake) Events() <-chan string { return f.events }

func (f *fake) Validate(n drivers.Network) error {
	if err := f.info.Validate(n); err != nil {
		return err
	}
	if _, err := drivers.DecodeOptions[FakeOptions](n.Options); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	return nil
}

// step precedes each change of the host: it is where a fake can be interrupted.
func (f *fake) step(ctx context.Context, format string, args ...any) error {
	name := fmt.Sprintf(format, args...)
	err := ctx.Err()
	if err == nil && f.closed.Load() {
		err = drivers.ErrClosed
	}
	if err == nil && f.fault != nil {
		err = f.fault(name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (f *fake) ApplyNetwork(ctx context.Context, n drivers.Network) error {
	if err := f.Validate(n); err != nil {
		return err
	}
	if err := f.step(ctx, "add network %s", n.ID); err != nil {
		return err
	}
	f.host.putNetwork(f.key(n.ID), n)
	return nil
}

func (f *fake) RemoveNetwork(ctx context.Context, id drivers.NetworkID) error {
	if err := f.step(ctx, "delete network %s", id); err != nil {
		return err
	}
	f.host.deleteNetwork(f.key(id))
	return nil
}

// ApplyEndpoint makes the two halves one after the other, as a real driver does, so that it can die in between.
func (f *fake) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	for _, half := range []string{"link", "interface"} {
		if err := f.step(ctx, "add endpoint %s %s", ep.ID, half); err != nil {
			return drivers.Attachment{}, err
		}
		if !f.host.putEndpoint(f.key(ep.Network), ep, half == "interface") {
			return drivers.Attachment{}, fmt.Errorf("add endpoint %s: network %s: %w", ep.ID, ep.Network, drivers.ErrNotFound)
		}
	}
	n, ok := f.host.network(f.key(ep.Network))
	if !ok {
		return drivers.Attachment{}, fmt.Errorf("add endpoint %s: network %s: %w", ep.ID, ep.Network, drivers.ErrNotFound)
	}
	return attachment(n, ep), nil
}

func attachment(n drivers.Network, ep drivers.Endpoint) drivers.Attachment {
	a := drivers.Attachment{Interface: ep.Interface, MTU: n.MTU}
	if a.MTU == 0 {
		a.MTU = fakeMTU
	}
	var has4, has6 bool
	for _, s := range n.Subnets {
		has := &has6
		if s.Gateway.Is4() {
			has = &has4
		}
		if !n.Internal && s.Gateway.IsValid() && !*has {
			a.Gateways = append(a.Gateways, s.Gateway)
			*has = true
		}
	}
	return a
}

func (f *fake) RemoveEndpoint(ctx context.Context, n drivers.NetworkID, ep drivers.EndpointID) error {
	if err := f.step(ctx, "delete endpoint %s", ep); err != nil {
		return err
	}
	f.host.deleteEndpoint(f.key(n), ep)
	return nil
}

func (f *clusterFake) ApplyPeers(ctx context.Context, n drivers.NetworkID, u drivers.PeerUpdate) error {
	if err := f.step(ctx, "change peers of network %s", n); err != nil {
		return err
	}
	known, err := f.host.putPeers(f.key(n), u)
	if !known {
		err = drivers.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("change peers of network %s: %w", n, err)
	}
	return nil
}

// Sync deletes what is not wanted and adds what differs, so that a repaired host costs few steps.
func (f *fake) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := f.step(ctx, "sync"); err != nil {
		return err
	}
	wanted := wantedNetworks(want)
	for _, id := range f.host.networkIDs(f.info.Name) {
		if _, ok := wanted[id]; !ok {
			if err := f.RemoveNetwork(ctx, id); err != nil {
				return err
			}
		}
	}
	var refused error
	for _, id := range sortedKeys(wanted) {
		err := f.syncNetwork(ctx, wanted[id])
		if err != nil && !errors.Is(err, drivers.ErrInvalid) {
			return err
		}
		refused = errors.Join(refused, err)
	}
	return refused
}

func (f *fake) syncNetwork(ctx context.Context, want *fakeNetwork) error {
	id := want.spec.ID
	have := f.host.snapshot(f.key(id))
	if have == nil || have.describe() != want.describe() {
		if err := f.ApplyNetwork(ctx, want.spec); err != nil {
			return err
		}
	}
	if have != nil {
		for _, ep := range sortedKeys(have.endpoints) {
			if _, ok := want.endpoints[ep]; !ok {
				if err := f.RemoveEndpoint(ctx, id, ep); err != nil {
					return err
				}
			}
		}
	}
	for _, ep := range sortedKeys(want.endpoints) {
		if have != nil && have.endpoints[ep].attached && have.endpoints[ep].describe() == want.endpoints[ep].describe() {
			continue
		}
		if _, err := f.ApplyEndpoint(ctx, want.endpoints[ep].spec); err != nil {
			return err
		}
	}
	if err := f.step(ctx, "set peers of network %s", id); err != nil {
		return err
	}
	f.host.setPeers(f.key(id), want)
	return want.refusals()
}

// Check renders both sides and names the lines that differ.
func (f *fake) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	if err := f.step(ctx, "check"); err != nil {
		return nil, err
	}
	wanted := wantedNetworks(want)
	ids := append(sortedKeys(wanted), f.host.networkIDs(f.info.Name)...)
	slices.Sort(ids)
	var drift []drivers.Drift
	for _, id := range slices.Compact(ids) {
		var have, should map[string]string
		if n := f.host.snapshot(f.key(id)); n != nil {
			have = n.objects()
		}
		if n := wanted[id]; n != nil {
			should = n.objects()
			for peer, err := range n.refused {
				should[fmt.Sprintf("peer %s", peer)] = err.Error()
			}
		}
		drift = append(drift, f.compare(id, have, should)...)
	}
	return drift, nil
}

func (f *fake) compare(id drivers.NetworkID, have, want map[string]string) []drivers.Drift {
	names := append(sortedKeys(have), sortedKeys(want)...)
	slices.Sort(names)
	var drift []drivers.Drift
	for _, name := range slices.Compact(names) {
		if have[name] == want[name] {
			continue
		}
		d := drivers.Drift{Driver: f.info.Name, Network: id, Object: name, Want: want[name], Have: have[name]}
		if rest, ok := strings.CutPrefix(name, "endpoint "); ok {
			ep, _, _ := strings.Cut(rest, " ")
			d.Endpoint = drivers.EndpointID(ep)
		}
		drift = append(drift, d)
	}
	return drift
}

func (f *fake) Close() error {
	if !f.closed.Swap(true) {
		f.host.unregister(f)
	}
	return nil
}

func (f *fake) key(id drivers.NetworkID) fakeKey { return fakeKey{driver: f.info.Name, network: id} }
