package veths

import (
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/iptables"
)

// Drifts puts differences of links into words of the driver contract, each of what of says.
func (h Host) Drifts(of drivers.Drift, found []link.Difference) []drivers.Drift {
	out := make([]drivers.Drift, len(found))
	for i, f := range found {
		out[i] = of
		out[i].Driver, out[i].Object, out[i].Want, out[i].Have = h.driver, f.Object, f.Want, f.Have
	}
	return out
}

// RuleDrifts does the same with those of the firewall, which the driver shares with others: theirs are left out. Rules
// that serve several owners' networks carry no owner; every driver reports them.
func (h Host) RuleDrifts(found []iptables.Difference) []drivers.Drift {
	var out []drivers.Drift
	for _, f := range found {
		if f.Owner == "" || f.Owner == h.driver {
			out = append(out, drivers.Drift{
				Driver: h.driver, Network: drivers.NetworkID(f.Network), Object: f.Object, Want: f.Want, Have: f.Have,
			})
		}
	}
	return out
}
