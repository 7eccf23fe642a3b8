package veths

import (
	"context"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
)

// forwarding are the sysctls without which a network that is not internal has no egress.
func forwarding(n drivers.Network) []string {
	if n.Internal {
		return nil
	}
	var keys []string
	for _, s := range n.Subnets {
		key := "net.ipv6.conf.all.forwarding"
		if s.Prefix.Addr().Is4() {
			key = "net.ipv4.ip_forward"
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Forward lets the host forward what the networks need forwarded. Nobody undoes it: others may have come to rely on it.
func (h Host) Forward(ctx context.Context, networks ...drivers.Network) error {
	done := map[string]bool{}
	for _, n := range networks {
		for _, key := range forwarding(n) {
			if done[key] {
				continue
			}
			done[key] = true
			if err := h.SetSysctl(ctx, key, "1"); err != nil {
				return fmt.Errorf("network %s: enable forwarding: %w", n.ID, err)
			}
		}
	}
	return nil
}

// CheckForwarding names what the host does not forward, once each, for the first network that needs it.
func (h Host) CheckForwarding(ctx context.Context, networks []drivers.Network) ([]drivers.Drift, error) {
	var drift []drivers.Drift
	seen := map[string]bool{}
	for _, n := range networks {
		for _, key := range forwarding(n) {
			if seen[key] {
				continue
			}
			seen[key] = true
			have, err := h.Sysctl(ctx, key)
			if err != nil {
				return nil, err
			}
			if have != "1" {
				drift = append(drift, drivers.Drift{Driver: h.driver, Network: n.ID, Object: "sysctl " + key, Want: "1", Have: have})
			}
		}
	}
	return drift, nil
}
