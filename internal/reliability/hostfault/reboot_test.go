package hostfault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestReboot: a host forgets everything but its disk, and its containers are gone. Their endpoints are free to be joined
// again, with the addresses they had.
func TestReboot(t *testing.T) {
	t.Parallel()
	w := newOverlayWorld(t)
	here := []*box{w.red1, w.red2, w.blue1, w.den1, w.den2}
	addrs := make(map[*box]string)
	for _, b := range here {
		addrs[b] = joinAddrs(b)
	}
	w.sealed(t)
	w.reboot(t, w.host)
	w.guards = nil // of containers that are gone
	begin, pace := time.Now(), startPace(t)
	w.host.Start(t)
	w.open(t, w.host)
	must(t, w.drift(t))
	figures := report.Figures{Faults: 1, WorstRepair: time.Since(begin)}
	if figures.WorstRepair > pace.allowed(t, promised) {
		t.Errorf("in order after %v, promised are %v", figures.WorstRepair, promised)
	}
	w.audit(t, &figures)
	var left []nodeagent.Sandbox
	must(t, w.host.Call(t.Context(), "sandbox.list", nil, &left))
	if len(left) > 0 {
		t.Errorf("sandboxes after a reboot: %+v", left)
	}
	for _, b := range here {
		b.join(t)
		if now := joinAddrs(b); now != addrs[b] {
			t.Errorf("%s had addresses %s and has %s", b.name, addrs[b], now)
		}
	}
	works(t, w.overlay()...)
	works(t, w.den(), between(w.red3, w.red1), w.out(w.red1))
	w.guard(t)
	w.sealed(t)
	must(t, w.drift(t))
	w.audit(t, &figures)
	t.Logf("MEASURED reboot: controller in order after %v", figures.WorstRepair)
	report.Add(t, figures)
}

func joinAddrs(b *box) string {
	var texts []string
	for _, a := range b.addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

// reboot ends everything on the host that does not survive a reboot. Open vSwitch's database does, as on any system that
// keeps it below /etc.
func (w *overlayWorld) reboot(t *testing.T, h *testutil.Host) {
	t.Helper()
	h.Kill9(t)
	h.OVS.KillVswitchd(t)
	h.OVS.KillOVSDB(t)
	handle := h.NS.Netlink()
	links, err := link.Complete(handle.LinkList)
	must(t, err)
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, "cnm") && name != "cnm-gw1" { // that goes with cnm-gw0
			must(t, handle.LinkDel(l))
		}
	}
	flushRules(t, h)
	stopForwarding(t, h)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := handle.RuleList(family)
		must(t, err)
		for _, r := range rules {
			if r.IifName != "" {
				must(t, handle.RuleDel(&r))
			}
		}
		routes, err := handle.RouteListFiltered(family, &netlink.Route{Table: 6516333}, netlink.RT_FILTER_TABLE)
		must(t, err)
		for _, r := range routes {
			must(t, handle.RouteDel(&r))
		}
	}
	for name := range strings.FieldsSeq(h.Run(t, "ls", "/run/libcnm/netns")) {
		h.Run(t, "umount", "--lazy", "/run/libcnm/netns/"+name)
	}
	h.Run(t, "rm", "-r", "/run/libcnm")
	must(t, os.WriteFile(filepath.Join(h.Dir, "run/boot_id"), []byte("00000000-0000-4000-8000-000000000001\n"), 0o600))
	h.Run(t, "mount", "--bind", "/run/boot_id", "/proc/sys/kernel/random/boot_id")
	h.OVS.StartOVSDB(t)
	h.OVS.StartVswitchd(t)
	if !slices.Contains(strings.Fields(h.OVS.Vsctl(t, "list-br")), "cnm-int") {
		t.Error("the database forgot its bridge, and the test shows less than it should")
	}
}
