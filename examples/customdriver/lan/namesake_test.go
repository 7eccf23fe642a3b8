package lan_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/examples/customdriver/lan"
)

// An interface of the right name that is not the port's other end is noticed, and not taken for it.
func TestNamesakeInSandbox(t *testing.T) {
	h := &host{tb: t}
	n := drivers.Network{
		ID:      "77777777777777777777777777777777",
		Subnets: []drivers.Subnet{{Prefix: netip.MustParsePrefix("10.7.0.0/24")}, {Prefix: netip.MustParsePrefix("fd70::/64")}},
	}
	sandbox := h.newSandbox().NetNS
	ep := drivers.Endpoint{
		ID: "88888888888888888888888888888888", Network: n.ID, MAC: drivers.MAC{2, 0, 0, 0, 0, 8}, NetNS: sandbox, Interface: "eth0",
	}
	want := []drivers.NetworkState{{Network: n, Endpoints: []drivers.Endpoint{ep}}}
	d := lan.New()
	if err := d.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(sandbox)
	h.ip("-n", name, "link", "set", "eth0", "name", "stolen")
	h.ip("-n", name, "link", "add", "eth0", "address", ep.MAC.String(), "type", "veth", "peer", "name", "other")
	drift, err := d.Check(t.Context(), want)
	if err != nil || len(drift) != 1 || drift[0].Endpoint != ep.ID || !strings.Contains(drift[0].Have, "eth0 is another") {
		t.Errorf("Check says %v, %v, want that eth0 is another", drift, err)
	}
	if err := d.Sync(t.Context(), want); err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("Sync with eth0 taken: %v, want an error that names it", err)
	}
	h.ip("-n", name, "link", "delete", "eth0")
	if err := d.Sync(t.Context(), want); err != nil {
		t.Errorf("Sync with eth0 free again: %v", err)
	}
	if err := d.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
