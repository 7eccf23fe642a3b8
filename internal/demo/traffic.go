package demo

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// transferTime is how long a TCP transfer lasts: the userspace datapath on a busy machine has its pace within it.
const transferTime = 400 * time.Millisecond

// tunnel is a direction between two hosts in one overlay network.
type tunnel struct {
	vni      uint32
	src, dst netip.Addr
}

// underlay counts what the hosts send on the underlay.
type underlay struct {
	mu      sync.Mutex // guards all following fields
	tunnels map[tunnel]int
	strange []string // what must not be there
}

// watch counts the frames of one host; it is the host's capture's filter.
func (u *underlay) watch(w *world, host *testutil.Host) func(testutil.Frame) bool {
	return func(f testutil.Frame) bool {
		if f.IPSrc != host.VTEP && !w.isTenant(f.IPSrc) {
			return false
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		switch {
		case f.Inner != nil:
			u.tunnels[tunnel{f.VNI, f.IPSrc, f.IPDst}]++
			if a := f.Inner.IPSrc; a.IsValid() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !w.isTenant(a) {
				u.strange = append(u.strange, fmt.Sprintf("a packet of %s in VNI %d", a, f.VNI))
			}
		case w.isTenant(f.IPSrc):
			u.strange = append(u.strange, fmt.Sprintf("a packet of %s, outside any tunnel, at %s", f.IPSrc, host.Name))
		}
		return false
	}
}

// isTenant says whether an address is of a network's subnet.
func (w *world) isTenant(a netip.Addr) bool {
	return slices.ContainsFunc(w.networks, func(n *network) bool {
		return n.subnets[0].Contains(a) || n.subnets[1].Contains(a)
	})
}

func (d *demo) showMatrix() {
	seen := &underlay{tunnels: map[tunnel]int{}}
	var captures []*testutil.Capture
	for _, h := range d.rig.Hosts {
		captures = append(captures, h.Capture(d.t, seen.watch(d.world, h)))
	}
	questions, got := d.askAll(everyNetwork, true)
	for _, c := range captures {
		d.must(c.Stop())
	}
	d.print(indent(d.renderExpected(d.style)) + "\n" + indent(d.renderSeen(got, d.style)) + indent(matrixLegend) + "\n")
	d.compare("", questions, got)
	d.showUnderlay(seen)
}

func (d *demo) askAll(match func(*network) bool, outside bool) ([]question, answers) {
	questions := d.questions(match, outside)
	got, err := d.ask(d.t.Context(), d.places, questions)
	d.must(err)
	return questions, got
}

// survey asks all questions of the matrix again and says what has become different.
func (d *demo) survey(when string, match func(*network) bool, outside bool) {
	questions, got := d.askAll(match, outside)
	d.compare(when+": ", questions, got)
}

func (d *demo) compare(when string, questions []question, got answers) {
	differ := d.differences(questions, got)
	for _, text := range differ {
		d.expect(false, "%s%s", when, text)
	}
	if len(differ) == 0 {
		d.ok("%s%d questions, each answered by whom it should be and by nobody else", when, len(questions))
	}
}

func (d *demo) showUnderlay(u *underlay) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range d.networks {
		if !isOverlay(n) {
			continue
		}
		total, silent := 0, []string{}
		for _, from := range d.rig.Hosts {
			for _, to := range d.rig.Hosts {
				count := u.tunnels[tunnel{n.vni, from.VTEP, to.VTEP}]
				delete(u.tunnels, tunnel{n.vni, from.VTEP, to.VTEP})
				total += count
				if from != to && count == 0 {
					silent = append(silent, from.Name+" to "+to.Name)
				}
			}
		}
		text := fmt.Sprintf("underlay: %d VXLAN packets of %s, VNI %d", total, n.name, n.vni)
		if len(silent) > 0 {
			text += ", none from " + strings.Join(silent, ", ")
		}
		d.expect(len(silent) == 0, "%s", text)
	}
	for t := range maps.Keys(u.tunnels) {
		u.strange = append(u.strange, fmt.Sprintf("VXLAN of VNI %d from %s to %s", t.vni, t.src, t.dst))
	}
	slices.Sort(u.strange)
	u.strange = slices.Compact(u.strange)
	if len(u.strange) > 0 {
		d.expect(false, "underlay: %s", strings.Join(u.strange, "; "))
		return
	}
	d.ok("underlay: no other VXLAN, and no packet of a sandbox outside a tunnel")
}

func (d *demo) showRates() {
	for _, pair := range [][2]string{{"blue-1a", "blue-2a"}, {"lan-1a", "lan-1b"}} {
		from, to := d.box(pair[0]), d.box(pair[1])
		var rates []string
		carried := true
		for family, at := range to.addrs {
			rate, err := testutil.Transfer(d.t.Context(), d.places[from], d.places[to], at, transferTime)
			if err != nil {
				carried = false
				rates = append(rates, err.Error())
				continue
			}
			carried = carried && rate.Bytes > 0
			rates = append(rates, fmt.Sprintf("IPv%d %s", []int{4, 6}[family], rate))
		}
		d.expect(carried, "%-9s %s to %s: %s", from.network.driver, from.who(), to.who(), strings.Join(rates, ", "))
	}
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSuffix(text, "\n") + "\n") {
		b.WriteString("  " + line)
	}
	return b.String()
}
