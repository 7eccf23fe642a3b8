package ovsvxlan_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

const bridgeName = "cnm-int"

// endpointPorts are the OpenFlow ports that goldens may give to endpoints.
var endpointPorts = []int{11, 12, 13, 14}

// rig is a bridge in a private switch, with the ports that goldens use.
type rig struct {
	ovs *testutil.OVS
}

func newRig(t *testing.T) rig {
	t.Helper()
	r := rig{testutil.StartOVS(t, testutil.OVSOptions{})}
	args := []string{
		"add-br", bridgeName, "--", "set", "bridge", bridgeName, "datapath_type=netdev", "fail_mode=secure",
		"--", "add-port", bridgeName, "vxlan", "--", "set", "interface", "vxlan", "type=vxlan", "ofport_request=1",
		"options:remote_ip=flow", "options:key=flow",
	}
	for _, port := range append([]int{2}, endpointPorts...) {
		name := fmt.Sprintf("port%d", port)
		args = append(args, "--", "add-port", bridgeName, name,
			"--", "set", "interface", name, "type=internal", fmt.Sprintf("ofport_request=%d", port))
	}
	r.ovs.Vsctl(t, args...)
	r.ofctl(t, "set-frags", ovsvxlan.FragmentMode)
	return r
}

// ofctl runs a command of ovs-ofctl on the bridge.
func (r rig) ofctl(t *testing.T, command string, args ...string) string {
	t.Helper()
	socket := filepath.Join(r.ovs.RunDir(), bridgeName+".mgmt")
	return r.ovs.Ofctl(t, append([]string{"--no-names", command, socket}, args...)...)
}

func (r rig) dump(t *testing.T) ovsvxlan.Program {
	t.Helper()
	flows, groups := r.ofctl(t, "dump-flows", "--no-stats"), r.ofctl(t, "dump-groups")
	return must(ovsvxlan.ParseDump([]byte(flows), []byte(groups)))(t)
}

// load makes the switch's program equal to want by one bundle.
func (r rig) load(t *testing.T, want ovsvxlan.Program) {
	t.Helper()
	path := filepath.Join(r.ovs.RunDir(), "bundle")
	if err := os.WriteFile(path, []byte(bundleText(t, ovsvxlan.Diff(r.dump(t), want))), 0o600); err != nil {
		t.Fatal(err)
	}
	r.ofctl(t, "bundle", path)
}

// TestGoldenSwitch goes from each golden's program straight to the next one's, so that bundles with deletions are
// tried too.
func TestGoldenSwitch(t *testing.T) {
	r := newRig(t)
	forEachGolden(t, func(t *testing.T, g golden) {
		bridge, rest := g.node.compile(t)
		want := must(ovsvxlan.Merge(bridge, rest))(t)
		r.load(t, want)

		have := r.dump(t)
		if diff := cmp.Diff(named(want), named(have)); diff != "" {
			t.Fatalf("the switch has another program than it was given (-given +has):\n%s", diff)
		}
		if d := ovsvxlan.Diff(have, want); d.Len() != 0 {
			t.Errorf("differs from its own dump: %v", d.Differences())
		}
		g.check(t, traceFile, r.traceAll(t, g))
	})
}

// traceAll runs the probes of trace.txt and returns the file with the verdicts they get. A probe is a line with a flow
// as ofproto/trace takes it, and options; the line before says why, the line after holds the verdict.
func (r rig) traceAll(t *testing.T, g golden) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(g.section(traceFile)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, verdictMark) {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text := r.ovs.Appctl(t, append([]string{"ofproto/trace", bridgeName}, strings.Fields(line)...)...)
		out.WriteString(verdictMark + verdict(text, g.node.base()) + "\n")
	}
	return out.String()
}
