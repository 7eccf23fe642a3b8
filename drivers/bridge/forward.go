package bridge

import (
	"context"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
)

// forwarding are the sysctls without which a network that is not internal has no egress.
func (nw network) forwarding() []string {
	if nw.internal {
		return nil
	}
	var keys []string
	for _, s := range nw.subnets {
		if s.Prefix.Addr().Is4() {
			keys = append(keys, "net.ipv4.ip_forward")
		} else {
			keys = append(keys, "net.ipv6.conf.all.forwarding")
		}
	}
	return keys
}

// forward sets them where they are not set. Nobody unsets them: others may have come to rely on them.
func (d *Driver) forward(ctx context.Context, nw network) error {
	for _, key := range nw.forwarding() {
		if err := d.host.SetSysctl(ctx, key, "1"); err != nil {
			return fmt.Errorf("enable forwarding: %w", err)
		}
	}
	return nil
}

func (d *Driver) checkForwarding(ctx context.Context, networks []network) ([]drivers.Drift, error) {
	var drift []drivers.Drift
	seen := map[string]bool{}
	for _, nw := range networks {
		for _, key := range nw.forwarding() {
			if seen[key] {
				continue
			}
			seen[key] = true
			have, err := d.host.Sysctl(ctx, key)
			if err != nil {
				return nil, err
			}
			if have != "1" {
				drift = append(drift, drivers.Drift{Driver: Name, Network: nw.id, Object: "sysctl " + key, Want: "1", Have: have})
			}
		}
	}
	return drift, nil
}
