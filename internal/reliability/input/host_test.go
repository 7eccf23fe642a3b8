package input

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// marker begins every name that is given to the host, so that it is found wherever it goes.
const marker = "zq7"

// markedNames returns names that are allowed, as strange as that permits.
func markedNames(t *testing.T, most int) []string {
	t.Helper()
	var names []string
	seen := make(map[string]bool)
	for _, s := range corpus(t) {
		name := marker + s
		if s == "" || !nameForm.MatchString(name) || seen[name] {
			continue
		}
		seen[name] = true
		if names = append(names, name); len(names) == most {
			break
		}
	}
	return names
}

// The forms of lines on the host.
var (
	ruleForm = regexp.MustCompile(`\A(#.*|[*:][A-Za-z0-9 :\[\]-]*|COMMIT|-A [A-Za-z0-9_-]+ [A-Za-z0-9 .:,/!+"-]*)?\z`)
	flowForm = regexp.MustCompile(`\A[A-Za-z0-9 _.,:;=/()\[\]>+*~-]*\z`)
)

// TestStringsOnAHost gives names to real networks of both drivers, and looks at everything that is on the host then: no
// name is a part of a rule, a flow, a row, an interface or an argument. Hostile names change nothing of it.
func TestStringsOnAHost(t *testing.T) {
	ctx := t.Context()
	h := testutil.NewHosts(t, 1, testutil.HostsOptions{}).Hosts[0]
	calls := watchPrograms(t)
	h.Start(t)
	must(t, h.Call(ctx, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP}, nil))
	names := markedNames(t, report.Pick(6, 60))
	for i, name := range names {
		driver := []string{"bridge", "ovs-vxlan"}[i%2]
		subnets := []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 70, byte(i), 0}), 24),
			netip.MustParsePrefix(fmt.Sprintf("fd70:0:0:%x::/64", i)),
		}
		must(t, h.Call(ctx, "network.create", nodeagent.Network{Driver: driver, Name: name, Subnets: subnets}, nil))
		ep := nodeagent.Endpoint{Network: name, Name: name}
		must(t, h.Call(ctx, "endpoint.create", ep, nil))
		must(t, h.Call(ctx, "sandbox.create", name, nil))
		must(t, h.Call(ctx, "join", nodeagent.Join{Endpoint: ep, Container: name}, nil))
	}
	before := dump(t, h)
	hostile := 0
	for _, s := range naughty(t) {
		if nameForm.MatchString(s) || !utf8.ValidString(s) || hostile == report.Pick(40, 500) {
			continue
		}
		hostile++
		for method, params := range map[string]any{
			"network.create":  nodeagent.Network{Driver: "ovs-vxlan", Name: s},
			"endpoint.create": nodeagent.Endpoint{Network: names[1], Name: s},
			"sandbox.create":  s,
			"join":            nodeagent.Join{Endpoint: nodeagent.Endpoint{Network: names[1], Name: s}, Container: s},
			"release":         s,
		} {
			if err := h.Call(ctx, method, params, nil); err == nil {
				t.Errorf("%s of %q succeeded", method, s)
			}
		}
	}
	after := dump(t, h)
	var strange []string
	for what, text := range after {
		if text != before[what] {
			t.Errorf("hostile names changed the %s from\n%s\nto\n%s", what, before[what], text)
		}
		strange = append(strange, strangeLines(what, text)...)
	}
	for _, name := range names {
		must(t, h.Call(ctx, "sandbox.delete", name, nil))
		must(t, h.Call(ctx, "endpoint.delete", nodeagent.Endpoint{Network: name, Name: name}, nil))
		must(t, h.Call(ctx, "network.delete", name, nil))
	}
	args, seen := calls.check(t, marker)
	if seen < 50 {
		t.Errorf("only %d arguments of programs were seen", seen)
	}
	strange = append(strange, args...)
	for _, s := range strange {
		t.Errorf("libcnm would not have written %s", s)
	}
	report.Add(t, report.Figures{Inputs: len(names) + 5*hostile, Leaks: len(strange)})
}

// dump is what is on the host, without counters and what ages.
func dump(t *testing.T, h *testutil.Host) map[string]string {
	t.Helper()
	ofctl := func(args ...string) string { return h.OVS.Ofctl(t, append([]string{"-O", "OpenFlow15"}, args...)...) }
	return map[string]string{
		"rules of IPv4": withoutComments(h.Run(t, "iptables-save")),
		"rules of IPv6": withoutComments(h.Run(t, "ip6tables-save")),
		"flows":         ofctl("--no-stats", "--no-names", "dump-flows", "cnm-int"),
		"groups":        ofctl("dump-groups", "cnm-int"),
		"ports":         h.OVS.Vsctl(t, "--columns=name,external_ids,other_config", "list", "Port"),
		"interfaces":    h.OVS.Vsctl(t, "--columns=name,external_ids,other_config,options", "list", "Interface"),
		"links":         h.Run(t, "ip", "-o", "link"),
	}
}

// withoutComments leaves out the times and counters that iptables-save prints.
func withoutComments(save string) string {
	var b strings.Builder
	for line := range strings.Lines(save) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(regexp.MustCompile(`\[\d+:\d+\]`).ReplaceAllString(line, "[0:0]"))
		}
	}
	return b.String()
}

func strangeLines(what, text string) []string {
	var strange []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		bad := strings.Contains(line, marker)
		switch {
		case strings.HasPrefix(what, "rules"):
			bad = bad || !ruleForm.MatchString(line)
		case what == "flows" || what == "groups":
			bad = bad || !flowForm.MatchString(line)
		}
		if bad {
			strange = append(strange, fmt.Sprintf("in the %s: %q", what, line))
		}
	}
	return strange
}
