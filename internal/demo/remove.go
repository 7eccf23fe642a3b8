package demo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/testutil"
)

// remove deletes everything by the library and looks at what is left on the hosts.
func (d *demo) remove() {
	for _, r := range d.responders {
		d.must(r.stop())
	}
	d.must(d.forBoxes(func(b *box) error {
		if err := d.call(b.host, "sandbox.delete", b.name(), nil); err != nil {
			return err
		}
		return d.call(b.host, "endpoint.delete", b.endpoint(), nil)
	}))
	for _, n := range d.networks {
		d.must(d.call(max(1, n.host), "network.delete", n.name, nil))
	}
	d.must(d.healthy())
	d.must(d.onHosts(func(host int) error { return d.call(host, "close", nil, nil) }))
	for _, h := range d.rig.Hosts {
		left := d.leftOn(h)
		d.expect(len(left) == 0, "%s has nothing of libcnm left%s", h.Name, listed(left))
		h.Stop(d.t)
	}
}

// leftOn names what the library has on a host that has no network any more.
func (d *demo) leftOn(h *testutil.Host) []string {
	var left []string
	for line := range strings.Lines(h.Run(d.t, "ip", "-o", "link")) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], "cnm") {
			left = append(left, "link "+strings.TrimSuffix(fields[1], ":"))
		}
	}
	for bridge := range strings.FieldsSeq(h.Run(d.t, "ovs-vsctl", "list-br")) {
		if bridge != testutil.PhysicalBridge {
			left = append(left, "bridge "+bridge)
		}
	}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		for _, rule := range ourRules(h.Run(d.t, program)) {
			left = append(left, fmt.Sprintf("%s: %s", strings.TrimSuffix(program, "-save"), rule))
		}
	}
	for line := range strings.Lines(h.Run(d.t, "cat", "/proc/self/mountinfo")) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(fields[4], "libcnm") {
			left = append(left, "mount "+fields[4])
		}
	}
	return left
}

func listed(left []string) string {
	if len(left) == 0 {
		return ""
	}
	return ", but: " + strings.Join(slices.Compact(left), ", ")
}
