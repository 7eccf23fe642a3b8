package iptables

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// backends are the two kinds of iptables, by the programs' suffix.
var backends = []string{"nft", "legacy"}

// eachBackend runs fn with both.
func eachBackend(t *testing.T, fn func(t *testing.T, h *host)) {
	for _, b := range backends {
		t.Run(b, func(t *testing.T) { fn(t, newHost(t, b)) })
	}
}

// host is a namespace with a kind of iptables of its own.
type host struct {
	*testutil.NS
	backend string
	tools   []tool
}

func newHost(t testutil.TB, backend string) *host {
	t.Helper()
	tools, err := detect(Config{V4: "iptables-" + backend, V6: "ip6tables-" + backend})
	if err != nil {
		t.Fatalf("%v (run scripts/install-deps)", err)
	}
	h := &host{NS: testutil.NewNS(t), backend: backend, tools: tools}
	for i := range h.tools {
		h.tools[i].run = h.output
	}
	return h
}

// output runs a program inside the host's namespace.
func (h *host) output(ctx context.Context, stdin io.Reader, name string, args ...string) ([]byte, error) {
	return run.Output(ctx, stdin, "nsenter", append([]string{"--net=" + h.Path(), "--", name}, args...)...)
}

func (h *host) firewall(t testutil.TB) *Firewall {
	t.Helper()
	fw := &Firewall{tools: h.tools, applied: applied{state: newState(), stale: true}}
	t.Cleanup(func() {
		if err := fw.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return fw
}

// iptables changes the host's rules as another program would; the arguments are separated by spaces.
func (h *host) iptables(t testutil.TB, f Family, args string) {
	t.Helper()
	name := f.program() + "-" + h.backend
	if _, err := h.output(t.Context(), nil, name, append([]string{"-w"}, strings.Fields(args)...)...); err != nil {
		t.Fatalf("%v", err)
	}
}

// saved returns all rules and chains, without tables that hold neither.
func (h *host) saved(t testutil.TB) string {
	t.Helper()
	var b strings.Builder
	for _, tl := range h.tools {
		out, err := h.output(t.Context(), nil, tl.name+"-save")
		if err != nil {
			t.Fatalf("%v", err)
		}
		table := ""
		for line := range strings.Lines(string(out)) {
			switch {
			case line[0] == '*':
				table = line[1 : len(line)-1]
			case line[0] == '-' || line[0] == ':' && strings.Contains(line, " - ") || strings.Contains(line, " DROP ["):
				fmt.Fprintf(&b, "%s %s %s", tl.family, table, line)
			}
		}
	}
	return b.String()
}

// line returns the number of the first line of saved that contains text, -1 if none does.
func line(saved, text string) int {
	for i, l := range strings.Split(saved, "\n") {
		if strings.Contains(l, text) {
			return i
		}
	}
	return -1
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr    { return netip.MustParseAddr(s) }

// bridgeNetwork is the i-th of many dual-stack networks.
func bridgeNetwork(i int) Network {
	v4 := netip.AddrFrom4([4]byte{10, byte(1 + i>>8), byte(i), 0})
	v6 := netip.AddrFrom16([16]byte{0xfd, 0, 0, 1, 0, 0, byte(i >> 8), byte(i)})
	return Network{
		ID:         fmt.Sprintf("%032x", i+1),
		Interface:  fmt.Sprintf("cnmb%010x", i+1),
		Subnets:    []netip.Prefix{netip.PrefixFrom(v4, 24), netip.PrefixFrom(v6, 64)},
		Gateways:   []netip.Addr{v4.Next(), v6.Next()},
		Masquerade: true,
	}
}

func bridgeNetworks(n int) []Network {
	all := make([]Network, n)
	for i := range all {
		all[i] = bridgeNetwork(i)
	}
	return all
}
