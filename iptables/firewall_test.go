package iptables

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bystanders are rules of other programs, some of them hard to read.
var bystanders = []string{
	"-N DOCKER",
	"-N DOCKER-USER",
	"-A FORWARD -j DOCKER-USER",
	"-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
	"-A DOCKER-USER -j RETURN",
	"-P FORWARD DROP",
	"-N ufw-before-input",
	"-A INPUT -j ufw-before-input",
	`-A ufw-before-input -i lo -m comment --comment a"b\c -j ACCEPT`,
	"-A ufw-before-input -m comment --comment libcnm -j RETURN", // not ours for all that
	"-t nat -N DOCKER",
	"-t nat -A POSTROUTING ! -o docker0 -j MASQUERADE",
	"-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
	"-t raw -A PREROUTING -i docker0 -j ACCEPT",
}

func (h *host) addBystanders(t *testing.T) {
	t.Helper()
	for _, f := range families {
		for _, b := range bystanders {
			h.iptables(t, f, b)
		}
	}
}

func mustSync(t *testing.T, fw *Firewall, s Spec) {
	t.Helper()
	if err := fw.Sync(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// differences returns what Check says, without what Sync keeps.
func differences(t *testing.T, fw *Firewall, s Spec) (repairable, kept []string) {
	t.Helper()
	diffs, err := fw.Check(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		if d.Kept {
			kept = append(kept, d.String())
		} else {
			repairable = append(repairable, d.String())
		}
	}
	return repairable, kept
}

var dualSpec = Spec{Owner: "bridge", Networks: bridgeNetworks(2), TunnelPorts: []uint16{4789}}

// withoutOurs removes from saved what mentions a chain of ours.
func withoutOurs(saved string) string {
	var b strings.Builder
	for l := range strings.Lines(saved) {
		if !strings.Contains(l, chainPrefix) {
			b.WriteString(l)
		}
	}
	return b.String()
}

func TestFirewallLeavesTheHostAsItWas(t *testing.T) {
	eachBackend(t, func(t *testing.T, h *host) {
		h.addBystanders(t)
		before := h.saved(t)
		fw := h.firewall(t)
		if found, _ := differences(t, fw, dualSpec); len(found) == 0 {
			t.Error("nothing differs on a host without rules")
		}
		if diff := cmp.Diff(before, h.saved(t)); diff != "" {
			t.Errorf("Check changed the host:\n%s", diff)
		}
		mustSync(t, fw, dualSpec)
		during := h.saved(t)
		if diff := cmp.Diff(before, withoutOurs(during)); diff != "" {
			t.Errorf("others' rules changed (-before +now):\n%s", diff)
		}
		for _, f := range families {
			first := line(during, string(f)+" filter -A FORWARD")
			if ours := line(during, string(f)+" filter -A FORWARD -m comment --comment libcnm -j CNM-FORWARD"); ours != first {
				t.Errorf("%s: our jump is not the first of FORWARD:\n%s", f, during)
			}
		}
		if found, kept := differences(t, fw, dualSpec); len(found)+len(kept) > 0 {
			t.Errorf("differences right after Sync: %q %q", found, kept)
		}

		restores := fw.restores.Load()
		mustSync(t, fw, dualSpec)
		if n := fw.restores.Load() - restores; n != 0 {
			t.Errorf("a second Sync ran %d restores", n)
		}

		for _, n := range dualSpec.Networks {
			if err := fw.Remove(t.Context(), "bridge", n.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := fw.SetTunnelPorts(t.Context(), "bridge"); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, h.saved(t)); diff != "" {
			t.Errorf("the host is not as it was (-before +after):\n%s", diff)
		}
	})
}

// Whatever happens to the rules, Check sees it, Sync repairs it and others' rules stay.
func TestFirewallRepairs(t *testing.T) {
	faults := []struct {
		name string
		args []string // for each family
		kept bool     // Sync leaves something that Check names
	}{
		{"flushed", []string{"-F", "-t nat -F", "-t mangle -F"}, false},
		{"flushed and deleted", []string{"-F", "-X", "-t nat -F", "-t nat -X", "-t mangle -F", "-t mangle -X"}, false},
		{"chain flushed", []string{"-F CNM-EGRESS"}, false},
		{"rule deleted", []string{"-D CNM-FORWARD -i cnm+ -j DROP"}, false},
		{"rule moved", []string{"-D CNM-FORWARD -j CNM-USER", "-A CNM-FORWARD -j CNM-USER"}, false},
		{"rule doubled", []string{"-A CNM-FORWARD -i cnm+ -j DROP"}, false},
		{"foreign rule in our chain", []string{"-I CNM-INSIDE -j ACCEPT"}, false},
		{"rule of a network nobody knows", []string{"-A CNM-EGRESS -i cnmbffff -m comment --comment libcnm:bridge:ff -j ACCEPT"}, false},
		{"jump deleted", []string{"-t nat -D POSTROUTING -m comment --comment libcnm -j CNM-POSTROUTING"}, false},
		{"jump doubled", []string{"-A FORWARD -m comment --comment libcnm -j CNM-FORWARD"}, false},
		{"old chain", []string{"-N CNM-OLD", "-A CNM-OLD -j DROP", "-A CNM-OLD -j CNM-EGRESS", "-A OUTPUT -m comment --comment libcnm -j CNM-OLD"}, false},
		{"another's rule before ours", []string{"-I FORWARD -p icmp -j DROP"}, true},
	}
	eachBackend(t, func(t *testing.T, h *host) {
		h.addBystanders(t)
		fw := h.firewall(t)
		mustSync(t, fw, dualSpec)
		for _, f := range families {
			h.iptables(t, f, "-A CNM-USER -p tcp --dport 7 -j DROP")
		}
		for _, tt := range faults {
			t.Run(tt.name, func(t *testing.T) {
				for _, f := range families {
					for _, a := range tt.args {
						h.iptables(t, f, a)
					}
				}
				broken := withoutOurs(h.saved(t))
				found, _ := differences(t, fw, dualSpec)
				if len(found) == 0 && !tt.kept {
					t.Error("Check sees nothing")
				}
				mustSync(t, fw, dualSpec)
				found, kept := differences(t, fw, dualSpec)
				if len(found) > 0 {
					t.Errorf("differences after Sync: %q", found)
				}
				if tt.kept != (len(kept) > 0) {
					t.Errorf("kept: %q", kept)
				}
				if diff := cmp.Diff(broken, withoutOurs(h.saved(t))); diff != "" {
					t.Errorf("Sync changed others' rules:\n%s", diff)
				}
			})
		}
	})
}

func TestFirewallSurvivesNftFlush(t *testing.T) {
	h := newHost(t, "nft")
	fw := h.firewall(t)
	mustSync(t, fw, dualSpec)
	want := h.saved(t)
	if _, err := h.output(t.Context(), nil, "nft", "flush", "ruleset"); err != nil {
		t.Fatal(err)
	}
	// The change finds that its chain is gone, and the rest comes back with it.
	if err := fw.Set(t.Context(), "bridge", bridgeNetwork(2)); err != nil {
		t.Fatal(err)
	}
	if err := fw.Remove(t.Context(), "bridge", bridgeNetwork(2).ID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, h.saved(t)); diff != "" {
		t.Errorf("after the flush (-before +after):\n%s", diff)
	}
}

// An old chain that another's rule leads to cannot be deleted: it is emptied, once.
func TestFirewallKeepsChainsOthersUse(t *testing.T) {
	eachBackend(t, func(t *testing.T, h *host) {
		fw := h.firewall(t)
		for _, a := range []string{"-N CNM-OLD", "-A CNM-OLD -j DROP", "-A OUTPUT -j CNM-OLD"} {
			h.iptables(t, IPv4, a)
		}
		mustSync(t, fw, Spec{Owner: "bridge"})
		want := "ip filter :CNM-OLD - [0:0]\nip filter -A OUTPUT -j CNM-OLD\n"
		if diff := cmp.Diff(want, h.saved(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		restores := fw.restores.Load()
		mustSync(t, fw, Spec{Owner: "bridge"})
		if n := fw.restores.Load() - restores; n != 0 {
			t.Errorf("a second Sync ran %d restores", n)
		}
	})
}

// The admin's rules outlive every change, and stay in force without networks.
func TestFirewallUserChain(t *testing.T) {
	eachBackend(t, func(t *testing.T, h *host) {
		fw := h.firewall(t)
		for _, f := range families {
			h.iptables(t, f, "-N CNM-USER")
			h.iptables(t, f, "-N CNM-USER-MORE")
			h.iptables(t, f, "-A CNM-USER -p tcp -m tcp --dport 7 -j DROP")
			h.iptables(t, f, "-A CNM-USER -m comment --comment libcnm -j CNM-USER-MORE")
		}
		rules := func() []string {
			var all []string
			for l := range strings.Lines(h.saved(t)) {
				if strings.Contains(l, userChain) {
					all = append(all, l)
				}
			}
			return all
		}
		mine := rules()
		inForce := slices.Sorted(slices.Values(append(slices.Clone(mine),
			"ip filter -A CNM-FORWARD -j CNM-USER\n", "ip6 filter -A CNM-FORWARD -j CNM-USER\n")))
		check := func(when string) {
			t.Helper()
			if diff := cmp.Diff(inForce, slices.Sorted(slices.Values(rules()))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		mustSync(t, fw, dualSpec)
		check("after Sync")
		if err := fw.Set(t.Context(), "bridge", bridgeNetwork(5)); err != nil {
			t.Fatal(err)
		}
		check("after Set")
		for _, f := range families {
			h.iptables(t, f, "-F CNM-FORWARD")
		}
		mustSync(t, fw, dualSpec)
		check("after a repair")
		mustSync(t, fw, Spec{Owner: "bridge"})
		check("without networks")
		if found, kept := differences(t, fw, Spec{Owner: "bridge"}); len(found)+len(kept) > 0 {
			t.Errorf("differences without networks: %q %q", found, kept)
		}
		for _, f := range families {
			h.iptables(t, f, "-F CNM-USER")
			h.iptables(t, f, "-X CNM-USER-MORE")
		}
		mustSync(t, fw, Spec{Owner: "bridge"})
		if left := h.saved(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// A new process knows nothing of the old one's rules until each owner has said what it wants.
func TestFirewallLeftovers(t *testing.T) {
	overlay := Spec{Owner: "ovs-vxlan", TunnelPorts: []uint16{4789}, Networks: []Network{{
		ID: "gateway", Interface: "cnm-gw0", Transit: true, Masquerade: true,
		Subnets:  dualSpec.Networks[0].Subnets,
		Gateways: bridgeNetwork(9).Gateways,
	}}}
	eachBackend(t, func(t *testing.T, h *host) {
		old := h.firewall(t)
		mustSync(t, old, Spec{Owner: "bridge", Networks: bridgeNetworks(3)})
		mustSync(t, old, overlay)
		was := h.saved(t)

		fw := h.firewall(t)
		if err := fw.Set(t.Context(), "bridge", bridgeNetwork(0)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(was, h.saved(t)); diff != "" {
			t.Errorf("Set of what is there already changed the host:\n%s", diff)
		}
		if err := fw.Remove(t.Context(), "bridge", bridgeNetwork(1).ID); err != nil {
			t.Fatal(err)
		}
		if saved := h.saved(t); strings.Contains(saved, bridgeNetwork(1).Interface) || !strings.Contains(saved, bridgeNetwork(2).Interface) {
			t.Errorf("after Remove of the second of three networks:\n%s", saved)
		}
		mustSync(t, fw, Spec{Owner: "bridge", Networks: bridgeNetworks(1)})
		for i, want := range []bool{true, false, false} {
			if got := strings.Contains(h.saved(t), bridgeNetwork(i).Interface); got != want {
				t.Errorf("after bridge's Sync: rules of network %d there: %t", i, got)
			}
		}
		for _, text := range []string{"cnm-gw0", "4789"} {
			if !strings.Contains(h.saved(t), text) {
				t.Errorf("bridge's Sync removed ovs-vxlan's rules for %s", text)
			}
		}
		mustSync(t, fw, Spec{Owner: "ovs-vxlan"})
		mustSync(t, fw, Spec{Owner: "bridge"})
		if left := h.saved(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// One network among others costs the lines that are its own, and no reading.
func TestFirewallSetsByDelta(t *testing.T) {
	eachBackend(t, func(t *testing.T, h *host) {
		fw := h.firewall(t)
		mustSync(t, fw, dualSpec)
		var texts []string
		for i := range fw.tools {
			if fw.tools[i].family != IPv4 {
				continue
			}
			fw.tools[i].run = func(ctx context.Context, stdin io.Reader, name string, args ...string) ([]byte, error) {
				var text bytes.Buffer
				if stdin != nil { // nil: a reading
					stdin = io.TeeReader(stdin, &text)
				}
				out, err := h.output(ctx, stdin, name, args...)
				texts = append(texts, text.String())
				return out, err
			}
		}
		n := Network{ID: "0a", Interface: "cnmb0a", Subnets: []netip.Prefix{pfx("10.200.0.0/24")}, Masquerade: true}
		for _, step := range []func() error{
			func() error { return fw.Set(t.Context(), "bridge", n) },
			func() error { return fw.Set(t.Context(), "bridge", n) },
			func() error {
				n.Internal, n.Masquerade = true, false
				return fw.Set(t.Context(), "bridge", n)
			},
			func() error { return fw.Remove(t.Context(), "bridge", n.ID) },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{
			`*filter
-A CNM-EGRESS -s 10.200.0.0/24 -i cnmb0a -m comment --comment libcnm:bridge:0a -j ACCEPT
-A CNM-INSIDE -i cnmb0a -o cnmb0a -m comment --comment libcnm:bridge:0a -j ACCEPT
-A CNM-SOURCE -s 10.200.0.0/24 ! -i cnmb0a -m comment --comment libcnm:bridge:0a -j DROP
COMMIT
*nat
-A CNM-MASQUERADE -s 10.200.0.0/24 ! -o cnmb0a -m comment --comment libcnm:bridge:0a -j MASQUERADE
COMMIT
`,
			`*filter
-A CNM-INTERNAL ! -i cnmb0a -o cnmb0a -m comment --comment libcnm:bridge:0a -j DROP
-D CNM-EGRESS -s 10.200.0.0/24 -i cnmb0a -m comment --comment libcnm:bridge:0a -j ACCEPT
COMMIT
*nat
-D CNM-MASQUERADE -s 10.200.0.0/24 ! -o cnmb0a -m comment --comment libcnm:bridge:0a -j MASQUERADE
COMMIT
`,
			`*filter
-D CNM-INSIDE -i cnmb0a -o cnmb0a -m comment --comment libcnm:bridge:0a -j ACCEPT
-D CNM-INTERNAL ! -i cnmb0a -o cnmb0a -m comment --comment libcnm:bridge:0a -j DROP
-D CNM-SOURCE -s 10.200.0.0/24 ! -i cnmb0a -m comment --comment libcnm:bridge:0a -j DROP
COMMIT
`,
		}
		if diff := cmp.Diff(want, texts); diff != "" {
			t.Errorf("restores (-want +got):\n%s", diff)
		}
		if found, _ := differences(t, fw, dualSpec); len(found) > 0 {
			t.Errorf("differences: %q", found)
		}
	})
}

// A thousand networks do not fit into one message to the kernel.
func TestFirewallThousandNetworks(t *testing.T) {
	eachBackend(t, func(t *testing.T, h *host) {
		fw := h.firewall(t)
		s := Spec{Owner: strings.Repeat("o", 32), Networks: bridgeNetworks(1000)}
		mustSync(t, fw, s)
		if found, kept := differences(t, fw, s); len(found)+len(kept) > 0 {
			t.Errorf("%d differences, first %q", len(found)+len(kept), append(found, kept...)[0])
		}
		mustSync(t, fw, Spec{Owner: s.Owner})
		if left := h.saved(t); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
}
