package input

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/etcfiles"
	"github.com/libcnm/libcnm/internal/reliability/report"
)

// pile hands out the strings of one kind, each once.
type pile []string

func gather(list []string, fits func(string) bool) pile {
	var p pile
	seen := make(map[string]bool)
	for _, s := range list {
		if fits(s) && !seen[s] {
			seen[s] = true
			p = append(p, s)
		}
	}
	return p
}

func (p *pile) take(n int) []string {
	n = min(n, len(*p))
	taken := (*p)[:n]
	*p = (*p)[n:]
	return taken
}

// given is what one round of TestAcceptedStrings gives.
type given struct {
	name                   string
	labels                 map[string]string
	search, options, hosts []string
	aliases                []string
	iface                  string
}

// TestAcceptedStrings gives every string that is allowed to something that keeps it, and reads it back: at once, from the
// files, and from the controller after this one.
func TestAcceptedStrings(t *testing.T) {
	w := newWorld(t)
	list := corpus(t)
	names, keys, values := gather(list, nameForm.MatchString), gather(list, isLabelKey), gather(list, isLabelValue)
	words, ifaces := gather(list, resolvForm.MatchString), gather(list, isInterface)
	options, hosts := words, names
	count := 0
	for round := 0; len(names) > 0 && round < report.Pick(12, 2000); round++ {
		g := given{
			name: names.take(1)[0], labels: make(map[string]string), aliases: append([]string{}, names.take(8)...),
			search: words.take(32), options: options.take(32), hosts: hosts.take(64),
		}
		for _, key := range keys.take(64) {
			g.labels[key] = strings.Join(values.take(1), "")
		}
		if list := ifaces.take(1); len(list) == 1 {
			g.iface = list[0]
		} else {
			g.iface = "eth9"
		}
		n, ep, sb := w.give(t, g)
		w.has(t, g)
		if round%6 == 0 {
			w.reopen(t)
			n, ep, sb = w.has(t, g)
		}
		must(t, sb.Delete(t.Context()))
		must(t, ep.Delete(t.Context()))
		must(t, n.Delete(t.Context()))
		count += 4 + len(g.aliases) + len(g.search) + len(g.options) + len(g.hosts) + 2*len(g.labels)
		if t.Failed() {
			break
		}
	}
	strange := w.strangers(t)
	for _, s := range strange {
		t.Errorf("libcnm would not have written %s", s)
	}
	report.Add(t, report.Figures{Inputs: count, Leaks: len(strange)})
}

var anyHost = netip.MustParseAddr("203.0.113.7")

// give makes a network, an endpoint and a sandbox that keep the strings.
func (w *world) give(t *testing.T, g given) (*libcnm.Network, *libcnm.Endpoint, *libcnm.Sandbox) {
	t.Helper()
	ctx := t.Context()
	n, err := w.c.NewNetwork(ctx, "fakenet", g.name, libcnm.WithLabels(g.labels),
		libcnm.WithSubnet(netip.MustParsePrefix("10.9.0.0/24"), libcnm.SubnetReserve(g.name, netip.MustParseAddr("10.9.0.9"))))
	must(t, err)
	ep, err := n.CreateEndpoint(ctx, g.name, libcnm.WithAliases(g.aliases...))
	must(t, err)
	extra := make([]libcnm.ExtraHost, 0, len(g.hosts))
	for _, h := range g.hosts {
		extra = append(extra, libcnm.ExtraHost{Name: h, Addr: anyHost})
	}
	sb, err := w.c.NewSandbox(ctx, "c"+g.name[1:], libcnm.WithHostname(g.name), libcnm.WithExtraHosts(extra...),
		libcnm.WithDNS(libcnm.DNS{Search: g.search, Options: g.options}), libcnm.WithSandboxLabels(g.labels))
	must(t, err)
	must(t, ep.Join(ctx, sb, libcnm.WithInterfaceName(g.iface)))
	return n, ep, sb
}

// has finds what give has made, by its names, and compares.
func (w *world) has(t *testing.T, g given) (*libcnm.Network, *libcnm.Endpoint, *libcnm.Sandbox) {
	t.Helper()
	ctx := t.Context()
	n, err := w.c.NetworkByName(ctx, g.name)
	must(t, err)
	ep, err := n.EndpointByName(ctx, g.name)
	must(t, err)
	sb, err := w.c.SandboxByContainer("c" + g.name[1:])
	must(t, err)
	resolv := etcfiles.ParseResolvConf(read(t, sb.ResolvConfPath()))
	hostname, _, _ := strings.Cut(g.name, ".")
	lines := "" // a fake's endpoint has no interface, so its addresses are not in the file
	for _, h := range g.hosts {
		lines += fmt.Sprintf("%s\t%s\n", anyHost, h)
	}
	for _, c := range []struct {
		what       string
		have, want any
	}{
		{"network's name", n.Name(), g.name},
		{"network's labels", n.Labels(), g.labels},
		{"reserved address", n.Subnets()[0].Reserved, map[string]netip.Addr{g.name: netip.MustParseAddr("10.9.0.9")}},
		{"endpoint's name", ep.Name(), g.name},
		{"aliases", ep.Info().Aliases, g.aliases},
		{"container", sb.ContainerID(), "c" + g.name[1:]},
		{"sandbox's labels", sb.Labels(), g.labels},
		{"search domains", resolv.Search, g.search},
		{"resolver options", resolv.Options, g.options},
		{"hostname file", string(read(t, sb.HostnamePath())), hostname + "\n"},
		{"end of the hosts file", strings.HasSuffix(string(read(t, sb.HostsPath())), lines), true},
	} {
		equal := []cmp.Option{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})}
		if diff := cmp.Diff(c.want, c.have, equal...); diff != "" {
			t.Errorf("%s of %q (-given +returned):\n%s", c.what, g.name, diff)
		}
	}
	return n, ep, sb
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}
