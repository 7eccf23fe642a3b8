package libcnm

import (
	"context"
	"sync"

	"github.com/libcnm/libcnm/iptables"
)

// firewall is the iptables engine that the bridge and ovs-vxlan drivers share, opened when one of them first needs it: a
// host that uses neither needs no iptables.
type firewall struct {
	mu     sync.Mutex // guards opened
	opened *iptables.Firewall
}

func (f *firewall) open() (*iptables.Firewall, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opened == nil {
		fw, err := iptables.New(iptables.Config{})
		if err != nil {
			return nil, err
		}
		f.opened = fw
	}
	return f.opened, nil
}

// Set is iptables.Firewall.Set.
func (f *firewall) Set(ctx context.Context, owner string, n iptables.Network) error {
	fw, err := f.open()
	if err != nil {
		return err
	}
	return fw.Set(ctx, owner, n)
}

// Remove is iptables.Firewall.Remove.
func (f *firewall) Remove(ctx context.Context, owner, id string) error {
	fw, err := f.open()
	if err != nil {
		return err
	}
	return fw.Remove(ctx, owner, id)
}

// SetTunnelPorts is iptables.Firewall.SetTunnelPorts.
func (f *firewall) SetTunnelPorts(ctx context.Context, owner string, ports ...uint16) error {
	fw, err := f.open()
	if err != nil {
		return err
	}
	return fw.SetTunnelPorts(ctx, owner, ports...)
}

// Sync is iptables.Firewall.Sync.
func (f *firewall) Sync(ctx context.Context, spec iptables.Spec) error {
	fw, err := f.open()
	if err != nil {
		return err
	}
	return fw.Sync(ctx, spec)
}

// Check is iptables.Firewall.Check.
func (f *firewall) Check(ctx context.Context, spec iptables.Spec) ([]iptables.Difference, error) {
	fw, err := f.open()
	if err != nil {
		return nil, err
	}
	return fw.Check(ctx, spec)
}

// Close is iptables.Firewall.Close.
func (f *firewall) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.opened == nil {
		return nil
	}
	return f.opened.Close()
}
