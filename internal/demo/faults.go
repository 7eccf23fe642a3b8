package demo

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

// showKill kills host1's controller while its sandboxes ping over every way that there is.
func (d *demo) showKill() {
	const victim = 1
	before := d.sandboxes(victim)
	var p pings
	p.ping(d, d.box("blue-1a"), target(d.box("blue-2a")))
	p.ping(d, d.box("green-3a"), target(d.box("green-1a")))
	p.ping(d, d.box("lan-1a"), target(d.box("lan-1b")))
	p.ping(d, d.box("blue-1b"), axis{addrs: d.outside})
	p.ping(d, d.box("lan-1b"), axis{addrs: d.outside})
	d.must(p.goOn(d))

	h := d.rig.Hosts[victim-1]
	h.Kill9(d.t)
	killed := time.Now()
	d.must(p.goOn(d))
	d.ok("killed: %s go on without a controller on %s", plural(len(p.list), "ping"), h.Name)
	h.Start(d.t)
	d.must(d.open(victim))
	again := since(killed)
	d.must(d.healthy())
	d.must(p.goOn(d))
	stats, err := p.stop()
	d.must(err)
	d.ok("started again, %s after its death; its host is as it should be", again)
	lost := stats.Sent - stats.Received
	d.expect(lost == 0, "%d of %d pings lost, longest silence %v", lost, stats.Sent, stats.Longest.Round(time.Millisecond))
	d.expect(reflect.DeepEqual(before, d.sandboxes(victim)), "the same %d sandboxes, endpoints and addresses as before", len(before))
}

func (d *demo) sandboxes(host int) []nodeagent.Sandbox {
	var list []nodeagent.Sandbox
	d.must(d.call(host, "sandbox.list", nil, &list))
	return list
}

// mostSilence is how long a container's address may be silent between leaving one host and answering on another.
const mostSilence = 5 * time.Second

// showMove takes a sandbox from host1 to host3. Sandboxes on the old, the new and an uninvolved host ping it meanwhile.
func (d *demo) showMove() {
	b := d.box("blue-1b")
	var before libcnm.EndpointInfo
	d.must(d.call(b.host, "endpoint.info", b.endpoint(), &before))
	var p pings
	for _, from := range []string{"blue-1a", "blue-2a", "blue-3a"} {
		p.ping(d, d.box(from), target(b))
	}
	d.must(p.goOn(d))

	start := time.Now()
	from := b.who()
	d.must(d.responders[b].stop())
	d.must(d.call(b.host, "leave", b.joining(), nil))
	d.must(d.call(b.host, "sandbox.delete", b.name(), nil))
	b.host = hosts
	after, err := d.join(b)
	d.must(err)
	took := since(start)
	d.must(d.enter(b))
	d.must(p.goOn(d))
	stats, err := p.stop()
	d.must(err)
	d.ok("%s left and is %s; %s", from, b.who(), took)
	same := b.mismatch(after) == nil && slices.Equal(before.MAC, after.MAC) && slices.Equal(before.Addresses, after.Addresses)
	d.expect(same, "it has its addresses %v and its MAC %s still", after.Addresses, after.MAC)
	d.expect(stats.Longest < mostSilence, "its peers on all hosts followed: it was silent for %v", stats.Longest.Round(time.Millisecond))
	d.must(d.healthy())
	d.survey("after the move", everyNetwork, true)
}

// showFlush removes all rules while the controllers are kept from repairing them: what keeps overlay networks apart, and
// what connects them, must not depend on iptables. The ways out do, and come back with the controllers.
func (d *demo) showFlush() {
	for _, h := range d.rig.Hosts {
		h.Pause(d.t)
	}
	d.must(d.onHosts(func(host int) error { return flush(d.rig.Hosts[host-1]) }))
	d.survey("blue and green without a firewall", isOverlay, false)
	rules := 0
	for _, h := range d.rig.Hosts {
		rules += len(ourRules(h.Run(d.t, "iptables-save") + h.Run(d.t, "ip6tables-save")))
		h.Resume(d.t)
	}
	d.expect(rules == 0, "%d rules were there meanwhile, with the controllers stopped", rules)

	start := time.Now()
	d.must(d.healthy())
	d.ok("the controllers go on, and their hosts are as they should be; %s", since(start))
	d.survey("with it", everyNetwork, true)
}

// flush empties a host's tables in both families.
func flush(h *testutil.Host) error {
	var script strings.Builder
	for _, table := range []string{"raw", "mangle", "nat", "filter"} {
		fmt.Fprintf(&script, "for p in iptables ip6tables; do $p -w -t %[1]s -F && $p -w -t %[1]s -X || exit 1; done\n", table)
	}
	out, err := h.Command("sh", "-c", script.String()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("flush rules on %s: %w: %s", h.Name, err, out)
	}
	return nil
}

// ourRules are the lines of an iptables-save that are the library's.
func ourRules(saved string) []string {
	var list []string
	for line := range strings.Lines(saved) {
		if strings.Contains(line, "CNM-") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}
