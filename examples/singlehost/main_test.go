package main

import (
	"os"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/child"
)

func TestMain(m *testing.M) { child.Main(m, main) }

func newHost(t *testing.T) *testutil.Host {
	t.Helper()
	return testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true}).Hosts[0]
}

// state is what the library could have changed on a host.
func state(t *testing.T, h *testutil.Host) string {
	t.Helper()
	links := h.Run(t, "ip", "-o", "link", "show", "type", "bridge") + h.Run(t, "ip", "-o", "link", "show", "type", "veth")
	names, err := os.ReadDir(h.Dir + "/run/libcnm/netns")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, n := range names {
		links += n.Name() + "\n"
	}
	return links
}

func TestPingsAndLeavesNothing(t *testing.T) {
	h := newHost(t)
	before := state(t, h)
	p := child.Start(t, h)
	p.Line("singlehost-ping reaches singlehost-pong at", ".")
	p.Line("singlehost-ping reaches singlehost-pong at", ":")
	p.Exit(0)
	if after := state(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	for _, table := range []string{"filter", "nat", "mangle", "raw"} {
		for _, tool := range []string{"iptables-save", "ip6tables-save"} {
			if rules := h.Run(t, tool, "-t", table); strings.Contains(rules, "-i cnm") || strings.Contains(rules, "-o cnm") {
				t.Errorf("%s of table %s has rules of the network:\n%s", tool, table, rules)
			}
		}
	}
}

// A run that was killed must not be in the way of the next.
func TestRunsAgainAfterKill(t *testing.T) {
	h := newHost(t)
	before := state(t, h)
	p := child.Start(t, h)
	p.Line("reaches")
	p.Kill()
	p = child.Start(t, h)
	p.Line("reaches")
	p.Line("reaches")
	p.Exit(0)
	if after := state(t, h); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
