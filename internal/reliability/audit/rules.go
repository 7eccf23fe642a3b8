package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/bridge"
	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/iptables"
	"github.com/libcnm/libcnm/ovsvxlan"
)

const (
	chainPrefix = "CNM-"
	userChain   = "CNM-USER" // the administrator's, and so are chains that begin with it
	mainChain   = "CNM-FORWARD"
)

// auditRules compares the firewall's chains and rules with what the networks compile to, in both families.
func (a *audit) auditRules(ctx context.Context, p *plan) error {
	specs, err := a.specs(p)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		family iptables.Family
		save   string
	}{{iptables.IPv4, "iptables-save"}, {iptables.IPv6, "ip6tables-save"}} {
		if _, err := exec.LookPath(f.save); errors.Is(err, exec.ErrNotFound) && len(specs) == 0 {
			continue // a host without a firewall, and no network that needs one
		}
		want, err := iptables.Compile(f.family, specs...)
		if err != nil {
			return fmt.Errorf("compile rules: %w", err)
		}
		out, err := run.Output(ctx, nil, f.save)
		if err != nil {
			return fmt.Errorf("read %s rules: %w: %w", f.family, err, errdefs.ErrUnavailable)
		}
		a.compareTables(string(f.family), parseRules(want.String()), parseRules(string(out)))
	}
	return nil
}

// specs are what the drivers ask of the firewall.
func (a *audit) specs(p *plan) ([]iptables.Spec, error) {
	var specs []iptables.Spec
	if networks := a.active(bridgeDriver); len(networks) > 0 {
		s := iptables.Spec{Owner: bridgeDriver}
		for _, n := range networks {
			options, err := drivers.DecodeOptions[bridge.Options](n.Options)
			if err != nil {
				return nil, fmt.Errorf("network %s: %w", n.ID, err)
			}
			rules := iptables.Network{
				ID: n.ID, Interface: bridgeName(n), Internal: n.Internal, Masquerade: !n.Internal && !options.DisableMasquerade,
			}
			for _, sub := range n.Subnets {
				rules.Subnets = append(rules.Subnets, sub.Prefix)
				if sub.Gateway.IsValid() {
					rules.Gateways = append(rules.Gateways, sub.Gateway)
				}
			}
			s.Networks = append(s.Networks, rules)
		}
		specs = append(specs, s)
	}
	if p.overlay != nil {
		specs = append(specs, iptables.Spec{
			Owner: overlayDriver, TunnelPorts: []uint16{tunnelUDPPort},
			Networks: []iptables.Network{{
				ID: "gateway", Interface: gatewayHost, Transit: true, Masquerade: true,
				Subnets:  []netip.Prefix{transit4, transit6},
				Gateways: []netip.Addr{ovsvxlan.HostAddr(transit4), ovsvxlan.HostAddr(transit6)},
			}},
		})
	}
	return specs, nil
}

// tables are chains by "table chain", with their rules in order.
type tables map[string][]string

// parseRules reads what iptables-save writes and iptables-restore takes.
func parseRules(text string) tables {
	t := tables{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			t[table+" "+word[1:]] = nil
		case word == "-N":
			t[table+" "+rest] = nil
		case word == "-A" || word == "-I":
			chain, rule, _ := strings.Cut(rest, " ")
			key := table + " " + chain
			if number, more, ok := strings.Cut(rule, " "); ok && word == "-I" && strings.Trim(number, "0123456789") == "" {
				rule = more
			}
			t[key] = append(t[key], normal(rule))
		}
	}
	return t
}

// normal gives two spellings of a rule one form: options in one order, without what other options imply.
func normal(rule string) string {
	var options []string
	words := strings.Fields(strings.ReplaceAll(rule, `"`, ""))
	for i := 0; i < len(words); {
		start := i
		if words[i] == "!" {
			i++
		}
		for i++; i < len(words) && words[i] != "!" && !strings.HasPrefix(words[i], "-"); i++ {
		}
		option := words[start:i]
		if option[0] == "-m" {
			continue
		}
		last := option[len(option)-1]
		if addr, bits, ok := strings.Cut(last, "/"); ok && (bits == "128" || bits == "32" && !strings.Contains(addr, ":")) {
			last = addr
		}
		if states := strings.Split(last, ","); len(states) > 1 {
			slices.Sort(states)
			last = strings.Join(states, ",")
		}
		options = append(options, strings.Join(append(slices.Clone(option[:len(option)-1]), last), " "))
	}
	slices.Sort(options)
	return strings.Join(options, " ")
}

// compareTables compares our chains, and our rules in others' chains.
func (a *audit) compareTables(family string, want, have tables) {
	// Without networks, the rules that an administrator put into his chain stay in force.
	if user := "filter " + userChain; len(have[user]) > 0 && want[user] == nil {
		if _, ok := want[user]; !ok {
			want[user] = nil
			want["filter FORWARD"] = []string{normal("-m comment --comment libcnm -j " + mainChain)}
			want["filter "+mainChain] = []string{normal("-j " + userChain)}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		_, chain, _ := strings.Cut(key, " ")
		rules, ok := have[key]
		switch {
		case strings.HasPrefix(chain, chainPrefix) && !ok:
			a.add(Missing, "chain "+family+" "+key, "want %d rules", len(want[key]))
		case chain == userChain:
		case strings.HasPrefix(chain, chainPrefix):
			a.compareRules(family+" "+key, want[key], rules)
		default:
			a.compareRules(family+" "+key, want[key], slices.DeleteFunc(slices.Clone(rules), foreignRule))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[key]; ok {
			continue
		}
		_, chain, _ := strings.Cut(key, " ")
		if strings.HasPrefix(chain, chainPrefix) {
			if chain == userChain || !strings.HasPrefix(chain, userChain) {
				a.add(Stray, "chain "+family+" "+key, "%d rules, and no network needs it", len(have[key]))
			}
			continue
		}
		if !strings.HasPrefix(chain, userChain) {
			a.compareRules(family+" "+key, nil, slices.DeleteFunc(slices.Clone(have[key]), foreignRule))
		}
	}
}

// foreignRule reports whether a rule, in a chain that is not ours, is not ours either.
func foreignRule(rule string) bool {
	for _, option := range []string{"--comment libcnm", "-j " + chainPrefix, "-g " + chainPrefix} {
		if strings.Contains(rule, option) {
			return false
		}
	}
	return true
}

func (a *audit) compareRules(chain string, want, have []string) {
	rest := slices.Clone(have)
	for _, rule := range want {
		at := slices.Index(rest, rule)
		if at < 0 {
			a.add(Missing, "rule of "+chain, "%s", rule)
			continue
		}
		rest = slices.Delete(rest, at, at+1)
	}
	for _, rule := range rest {
		kind := Stray
		if slices.Contains(want, rule) {
			kind = Duplicate
		}
		a.add(kind, "rule of "+chain, "%s", rule)
	}
	// Rules of single networks stand side by side; the others are an argument in steps.
	ordered := slices.ContainsFunc(want, func(r string) bool { return !strings.Contains(r, "--comment libcnm") })
	if ordered && len(rest) == 0 && len(want) == len(have) && !slices.Equal(want, have) {
		a.add(Wrong, "order of "+chain, "%s; want %s", strings.Join(have, "; "), strings.Join(want, "; "))
	}
}
