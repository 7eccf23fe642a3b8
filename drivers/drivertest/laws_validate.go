package drivertest

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/drivers"
)

func validateLaws() []law {
	return []law{
		{
			name:  "info",
			why:   "Info is constant and complete: the controller decides by it before it asks anything else",
			check: checkInfo,
		},
		{
			name:  "validate/pure",
			why:   "Validate reads only its argument: it accepts what can be built, gives the same answer each time, and neither changes its argument nor touches the host",
			check: checkValidatePure,
		},
		{
			name:  "validate/refuses",
			why:   "a network that cannot work is refused before anything is stored, by a text that names the offending part",
			check: checkValidateRefuses,
		},
	}
}

func checkInfo(e *env) {
	info := e.d.Info()
	if info.Name == "" {
		e.Errorf("Info.Name is empty")
	}
	if info.Scope != drivers.ScopeLocal && info.Scope != drivers.ScopeCluster {
		e.Errorf("Info.Scope is %q, want %q or %q", info.Scope, drivers.ScopeLocal, drivers.ScopeCluster)
	}
	e.must(e.d.Sync(e.ctx, []drivers.NetworkState{e.world.single()}), "Sync")
	if diff := cmp.Diff(info, e.d.Info()); diff != "" {
		e.Errorf("Info changed with the state (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(info, e.open().Info()); diff != "" {
		e.Errorf("Info differs between two drivers of one host (-first +second):\n%s", diff)
	}
}

func checkValidatePure(e *env) {
	for _, s := range e.world.states() {
		for _, n := range s.want {
			before := cloneNetwork(n.Network)
			for range 2 {
				if err := e.d.Validate(n.Network); err != nil {
					e.Errorf("Validate(%s) refused a network of the suite: %v", n.Network.Name, err)
				}
			}
			if diff := cmp.Diff(before, n.Network, exact...); diff != "" {
				e.Fatalf("Validate changed its argument (-before +after):\n%s", diff)
			}
		}
	}
	e.expect("", "Validate")
}

// exact compares addresses with ==, where go-cmp would look inside.
var exact = []cmp.Option{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// refusal is a network that no driver may accept.
type refusal struct {
	name  string
	names string // what the error's text must contain
	spoil func(*drivers.Network)
}

func refusals(info drivers.Info) []refusal {
	mtu := func(v int) func(*drivers.Network) { return func(n *drivers.Network) { n.MTU = v } }
	options := func(raw string) func(*drivers.Network) {
		return func(n *drivers.Network) { n.Options = json.RawMessage(raw) }
	}
	all := []refusal{
		{"a negative MTU", "-1", mtu(-1)},
		{"an MTU no link can have", "65536", mtu(65536)},
		{"an unknown option", "no_such_option", options(`{"no_such_option": 1}`)},
		{"options that are no object", "", options(`[1]`)},
		{"data after the options", "", options(`{} {}`)},
	}
	subnets := func(s ...drivers.Subnet) func(*drivers.Network) {
		return func(n *drivers.Network) { n.Subnets = s }
	}
	v4, v6 := subnet("10.91.7."), subnet("fd91:7::")
	if !info.Addressing {
		return append(all, refusal{"a subnet, without addressing", v4.Prefix.String(), subnets(v4)})
	}
	if info.VNI {
		all = append(all, refusal{"a VNI of more than 24 bits", "16777216", func(n *drivers.Network) { n.VNI = 1 << 24 }})
	}
	return append(all,
		refusal{"an MTU below the minimum of IPv4", "67", mtu(67)},
		refusal{"an MTU below the minimum of IPv6", "1279", mtu(1279)},
		refusal{"a zero subnet", "", subnets(drivers.Subnet{})},
		refusal{"an IPv4 subnet with host bits", "10.91.7.9/24",
			subnets(drivers.Subnet{Prefix: netip.MustParsePrefix("10.91.7.9/24"), Gateway: v4.Gateway}, v6)},
		refusal{"an IPv6 subnet with host bits", "fd91:7::9/64",
			subnets(v4, drivers.Subnet{Prefix: netip.MustParsePrefix("fd91:7::9/64"), Gateway: v6.Gateway})},
		refusal{"a subnet within another", "10.91.7.0/24",
			subnets(drivers.Subnet{Prefix: netip.MustParsePrefix("10.91.0.0/16")}, v4)},
		refusal{"an IPv4 gateway outside its subnet", "10.92.0.1",
			subnets(drivers.Subnet{Prefix: v4.Prefix, Gateway: netip.MustParseAddr("10.92.0.1")}, v6)},
		refusal{"an IPv6 gateway outside its subnet", "fd92::1",
			subnets(v4, drivers.Subnet{Prefix: v6.Prefix, Gateway: netip.MustParseAddr("fd92::1")})},
	)
}

func checkValidateRefuses(e *env) {
	for _, r := range refusals(e.world.info) {
		n := e.world.adapt(e.world.network(0)).Network
		r.spoil(&n)
		err := e.d.Validate(n)
		switch {
		case err == nil:
			e.Errorf("Validate accepted %s", r.name)
		case !errors.Is(err, drivers.ErrInvalid) && !errors.Is(err, drivers.ErrUnsupported):
			e.Errorf("Validate refused %s without ErrInvalid or ErrUnsupported: %v", r.name, err)
		case !strings.Contains(err.Error(), r.names):
			e.Errorf("Validate refused %s without naming %q: %v", r.name, r.names, err)
		}
	}
	e.expect("", "Validate of what must be refused")
}
