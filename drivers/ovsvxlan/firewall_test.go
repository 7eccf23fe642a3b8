package ovsvxlan

import (
	"context"
	"fmt"
	"sync"

	"github.com/libcnm/libcnm/iptables"
)

// fakeFirewall remembers what is asked for. The conformance suite syncs thousands of times; that the real rules follow
// the same calls is shown by TestEgress and in package iptables.
type fakeFirewall struct {
	mu   sync.Mutex // guards the following
	spec iptables.Spec
}

func (f *fakeFirewall) Sync(ctx context.Context, spec iptables.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spec = spec
	return ctx.Err()
}

func (f *fakeFirewall) Check(ctx context.Context, spec iptables.Spec) ([]iptables.Difference, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want, have := fmt.Sprintf("%+v", spec), fmt.Sprintf("%+v", f.spec)
	if want == have {
		return nil, ctx.Err()
	}
	return []iptables.Difference{{Owner: spec.Owner, Object: "rules", Want: want, Have: have}}, ctx.Err()
}

// damage forgets everything, as a flush does.
func (f *fakeFirewall) damage() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spec = iptables.Spec{}
}

func (f *fakeFirewall) dump() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.spec.Networks) == 0 && len(f.spec.TunnelPorts) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("firewall %+v", f.spec)}
}
