package iptables

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func TestSpecValidate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*Spec)
		names string // what the text must contain
	}{
		{"no owner", func(s *Spec) { s.Owner = "" }, `""`},
		{"owner with a quote", func(s *Spec) { s.Owner = `a"b` }, `a\"b`},
		{"owner with a colon", func(s *Spec) { s.Owner = "a:b" }, "a:b"},
		{"long owner", func(s *Spec) { s.Owner = strings.Repeat("a", 33) }, "aaa"},
		{"no id", func(s *Spec) { s.Networks[0].ID = "" }, `""`},
		{"id with a newline", func(s *Spec) { s.Networks[0].ID = "a\n-F" }, `a\n-F`},
		{"upper-case id", func(s *Spec) { s.Networks[0].ID = "A" }, `"A"`},
		{"no interface", func(s *Spec) { s.Networks[0].Interface = "" }, "interface"},
		{"foreign interface", func(s *Spec) { s.Networks[0].Interface = "eth0" }, "eth0"},
		{"prefix alone", func(s *Spec) { s.Networks[0].Interface = "cnm" }, `"cnm"`},
		{"wildcard interface", func(s *Spec) { s.Networks[0].Interface = "cnmb+" }, "cnmb+"},
		{"interface of 16", func(s *Spec) { s.Networks[0].Interface = "cnmb000000000001" }, "cnmb000000000001"},
		{"interface with a space", func(s *Spec) { s.Networks[0].Interface = "cnm a" }, "cnm a"},
		{"interface with a newline at its end", func(s *Spec) { s.Networks[0].Interface = "cnma\n" }, `cnma\n`},
		{"host bits", func(s *Spec) { s.Networks[0].Subnets = []netip.Prefix{pfx("10.0.0.1/24")} }, "10.0.0.1/24"},
		{"zero subnet", func(s *Spec) { s.Networks[0].Subnets = []netip.Prefix{{}} }, "invalid Prefix"},
		{"everything", func(s *Spec) { s.Networks[0].Subnets = []netip.Prefix{pfx("::/0")} }, "::/0"},
		{"multicast subnet", func(s *Spec) { s.Networks[0].Subnets = []netip.Prefix{pfx("224.1.0.0/16")} }, "224.1.0.0/16"},
		{"mapped subnet", func(s *Spec) { s.Networks[0].Subnets = []netip.Prefix{pfx("::ffff:10.0.0.0/120")} }, "::ffff:10.0.0.0"},
		{"subnet twice", func(s *Spec) { s.Networks[0].Subnets = append(s.Networks[0].Subnets, s.Networks[0].Subnets[0]) }, "10.1.0.0/24"},
		{"zero gateway", func(s *Spec) { s.Networks[0].Gateways = []netip.Addr{{}} }, "invalid IP"},
		{"link-local gateway", func(s *Spec) { s.Networks[0].Gateways = []netip.Addr{ip("fe80::1")} }, "fe80::1"},
		{"gateway with a zone", func(s *Spec) { s.Networks[0].Gateways = []netip.Addr{ip("fd00::1%cnm -j ACCEPT")} }, "fd00::1%"},
		{"mapped gateway", func(s *Spec) { s.Networks[0].Gateways = []netip.Addr{ip("::ffff:10.0.0.1")} }, "::ffff:10.0.0.1"},
		{"internal and masquerade", func(s *Spec) { s.Networks[0].Internal = true }, "masquerade"},
		{"internal and transit", func(s *Spec) {
			s.Networks[0].Internal, s.Networks[0].Masquerade, s.Networks[0].Transit = true, false, true
		}, "transit"},
		{"port 0", func(s *Spec) { s.TunnelPorts = []uint16{0} }, "port 0"},
		{"port twice", func(s *Spec) { s.TunnelPorts = []uint16{4789, 4789} }, "4789"},
		{"too many ports", func(s *Spec) {
			for p := range uint16(maxPorts + 1) {
				s.TunnelPorts = append(s.TunnelPorts, p+1)
			}
		}, "at most 64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Spec{Owner: "bridge", Networks: bridgeNetworks(1), TunnelPorts: []uint16{4789}}
			if err := s.Validate(); err != nil {
				t.Fatalf("the good spec: %v", err)
			}
			tt.spoil(&s)
			err := s.Validate()
			if !errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error %v, want ErrInvalid that names %q", err, tt.names)
			}
			if _, err := Compile(IPv4, s); !errors.Is(err, errdefs.ErrInvalid) {
				t.Errorf("Compile: %v, want ErrInvalid", err)
			}
		})
	}
}

// safeLine is what a restore may consist of: no quote, no escape, nothing but the characters of our own rules.
var safeLine = regexp.MustCompile(`^([*:]|-[ADINX] |COMMIT)[A-Za-z0-9 .:,/!+-]*( \[0:0\])?$`)

// Nothing that Validate lets through can form anything but lines of our own making, and the host's own reader finds in
// them exactly the rules that were meant.
func FuzzCompile(f *testing.F) {
	f.Add("bridge", "0a", "cnmb0", "10.0.0.0/24", "10.0.0.1", uint16(4789), true, false, true)
	f.Add("ovs-vxlan", "gw", "cnm-gw0", "fd00::/64", "fd00::1", uint16(1), false, true, true)
	f.Add("a\nb", "x -j ACCEPT", `cnm"+`, "0.0.0.0/0", "::1%\"", uint16(0), true, true, true)
	f.Fuzz(func(t *testing.T, owner, id, iface, subnet, gateway string, port uint16, internal, transit, masquerade bool) {
		n := Network{ID: id, Interface: iface, Internal: internal, Transit: transit, Masquerade: masquerade}
		if p, err := netip.ParsePrefix(subnet); err == nil {
			n.Subnets = []netip.Prefix{p}
		}
		if a, err := netip.ParseAddr(gateway); err == nil {
			n.Gateways = []netip.Addr{a}
		}
		for _, fam := range families {
			r, err := Compile(fam, Spec{Owner: owner, Networks: []Network{n}, TunnelPorts: []uint16{port}})
			if err != nil {
				if !errors.Is(err, errdefs.ErrInvalid) {
					t.Errorf("error %v, want ErrInvalid", err)
				}
				continue
			}
			for l := range strings.Lines(r.String()) {
				if !safeLine.MatchString(strings.TrimSuffix(l, "\n")) {
					t.Errorf("line %q", l)
				}
			}
			for _, tb := range r.tables {
				for _, c := range tb.chains {
					for _, rule := range c.rules {
						if k := marked(rule); c.list && k != (networkKey{owner, id}) && k != (networkKey{owner: owner}) {
							t.Errorf("rule %q belongs to %v", rule, k)
						}
					}
				}
			}
		}
	})
}
