package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// The chains with rules per network or port.
var (
	internalList   = listID{"filter", "CNM-INTERNAL"}
	insideList     = listID{"filter", "CNM-INSIDE"}
	egressList     = listID{"filter", "CNM-EGRESS"}
	gatewayList    = listID{"filter", "CNM-INPUT"}
	sourceList     = listID{"filter", "CNM-SOURCE"}
	masqueradeList = listID{"nat", "CNM-MASQUERADE"}
	tunnelNATList  = listID{"nat", "CNM-TUNNEL"}
	tunnelOutList  = listID{"mangle", "CNM-POSTROUTING"}
	tunnelInList   = listID{"mangle", "CNM-INPUT"}
	tunnelFwdList  = listID{"mangle", "CNM-FORWARD"}
)

// Compile returns the rules that make specs true in one family. It is a pure function: the order of specs, networks and
// ports makes no difference. Invalid specs, and specs that claim the same thing, are refused as Spec.Validate does.
func Compile(f Family, specs ...Spec) (Ruleset, error) {
	taken, owners, all := make(claims), make(map[string]bool), make(lists)
	specs = slices.SortedFunc(slices.Values(specs), func(a, b Spec) int { return cmp.Compare(a.Owner, b.Owner) })
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			return Ruleset{}, err
		}
		if owners[s.Owner] {
			return Ruleset{}, fmt.Errorf("firewall owner %s: given twice: %w", s.Owner, errdefs.ErrInvalid)
		}
		owners[s.Owner] = true
		if err := taken.addAll(s); err != nil {
			return Ruleset{}, err
		}
		byID := func(a, b Network) int { return cmp.Compare(a.ID, b.ID) }
		for _, n := range slices.SortedFunc(slices.Values(s.Networks), byID) {
			networkRules(all, f, s.Owner, n)
		}
		portRules(all, s.Owner, s.TunnelPorts)
	}
	return assemble(f, all), nil
}

// mark is the comment that says whose a rule is: "libcnm:owner:network", or "libcnm:owner" for tunnel ports.
func mark(owner, network string) string {
	if network != "" {
		owner += ":" + network
	}
	return "-m comment --comment " + jumpMark + ":" + owner
}

// networkRules adds n's rules to all. What is about interfaces is the same in both families whatever addresses n has, so
// that a family nobody thought of is closed, not open.
func networkRules(all lists, f Family, owner string, n Network) {
	by := mark(owner, n.ID)
	if !n.Transit {
		all.add(insideList, "-i %s -o %s %s -j ACCEPT", n.Interface, n.Interface, by)
	}
	if n.Internal {
		all.add(internalList, "! -i %s -o %s %s -j DROP", n.Interface, n.Interface, by)
	}
	for _, p := range slices.SortedFunc(slices.Values(n.Subnets), netip.Prefix.Compare) {
		if !f.is(p.Addr()) {
			continue
		}
		// The answer to a packet under another network's address would be let into that network.
		all.add(sourceList, "-s %s ! -i %s %s -j DROP", p, n.Interface, by)
		if !n.Internal {
			all.add(egressList, "-s %s -i %s %s -j ACCEPT", p, n.Interface, by)
		}
	}
	for _, g := range slices.SortedFunc(slices.Values(n.Gateways), netip.Addr.Compare) {
		if f.is(g) {
			all.add(gatewayList, "-d %s/%d ! -i %s %s -j DROP", g, g.BitLen(), n.Interface, by)
		}
	}
	if !n.Masquerade {
		return
	}
	for _, p := range slices.SortedFunc(slices.Values(n.Subnets), netip.Prefix.Compare) {
		if f.is(p.Addr()) {
			all.add(masqueradeList, "-s %s ! -o %s %s -j MASQUERADE", p, n.Interface, by)
		}
	}
}

// portRules adds the guards of the tunnel ports. They stand in mangle: there no rule of CNM-USER or of the filter table
// can come before them, and its chains come after destination NAT, which could bend another port to this one.
//
// In POSTROUTING a datagram that the kernel's own tunnel sends has no owner, one from a process, root's too, has its
// socket, and one that is forwarded has a socket of another namespace or none, which do not count. Between two ports of
// one of our own bridges (which only br_netfilter shows to iptables) tunnels are the sandboxes' own business.
//
// Those whom the host forwards for are no business of ours either, but if someone else's rule gave what they send the
// host's address, other nodes would take it for the host's. The nat table's verdict is about translation only.
func portRules(all lists, owner string, ports []uint16) {
	by := mark(owner, "")
	for _, p := range slices.Sorted(slices.Values(ports)) {
		all.add(tunnelOutList, "-p udp -m udp --dport %d -m owner --socket-exists %s -j DROP", p, by)
		all.add(tunnelInList, "-i %s+ -p udp -m udp --dport %d %s -j DROP", Prefix, p, by)
		all.add(tunnelNATList, "-p udp -m udp --dport %d %s -j ACCEPT", p, by)
		all.add(tunnelFwdList, "-i %s+ ! -o %s+ -p udp -m udp --dport %d %s -j DROP", Prefix, Prefix, p, by)
	}
}

func (f Family) is(a netip.Addr) bool { return a.Is4() == (f == IPv4) }

func (f Family) multicast() string {
	if f == IPv4 {
		return "224.0.0.0/4"
	}
	return "ff00::/8"
}

// assemble puts the lists into the fixed chains. A table in which no list has a rule is not used at all.
func assemble(f Family, l lists) Ruleset {
	r := Ruleset{family: f}
	all := []table{mangleTable(), filterTable(), natTable(f)}
	used := l.tables()
	for _, t := range all {
		if !slices.Contains(used, t.name) {
			continue
		}
		for i, c := range t.chains {
			if c.list {
				t.chains[i].rules = l[listID{t.name, c.name}]
			}
		}
		r.tables = append(r.tables, t)
	}
	return r
}

func jumpTo(from, match, to string) jump {
	if match != "" {
		match += " "
	}
	return jump{from: from, rule: match + "-m comment --comment " + jumpMark + " -j " + to}
}

func filterTable() table {
	cnm := Prefix + "+"
	return table{
		name: "filter",
		user: true,
		jumps: []jump{
			jumpTo("FORWARD", "", "CNM-FORWARD"),
			jumpTo("INPUT", "-i "+cnm, gatewayList.chain),
			// Over lo the host talks to itself, be it from a gateway's address.
			jumpTo("INPUT", "! -i lo -m conntrack --ctstate NEW", sourceList.chain),
		},
		chains: []chain{
			{name: "CNM-FORWARD", rules: []string{
				"-j " + userChain,
				// What stays inside its network comes first: where br_netfilter shows every frame of a bridge, it is most.
				"-i " + cnm + " -o " + cnm + " -j " + insideList.chain,
				"-o " + cnm + " -j " + internalList.chain,
				// Replies only: not a connection that was opened into a network while the rules were away, and
				// never between two networks, established or not.
				"! -i " + cnm + " -o " + cnm + " -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -j ACCEPT",
				"-o " + cnm + " -j DROP",
				"-i " + cnm + " -j " + egressList.chain,
				"-i " + cnm + " -j DROP",
				"-m conntrack --ctstate NEW -j " + sourceList.chain,
			}},
			{name: internalList.chain, list: true},
			{name: insideList.chain, list: true},
			{name: egressList.chain, list: true},
			{name: gatewayList.chain, list: true},
			{name: sourceList.chain, list: true},
		},
	}
}

func natTable(f Family) table {
	return table{
		name:  "nat",
		jumps: []jump{jumpTo("POSTROUTING", "", "CNM-POSTROUTING")},
		chains: []chain{
			{name: "CNM-POSTROUTING", rules: []string{
				"-p udp -j " + tunnelNATList.chain,
				// Over lo the host talks to itself, be it from and to a gateway's address.
				"! -d " + f.multicast() + " ! -o lo -j " + masqueradeList.chain,
			}},
			{name: tunnelNATList.chain, list: true},
			{name: masqueradeList.chain, list: true},
		},
	}
}

func mangleTable() table {
	return table{
		name: "mangle",
		jumps: []jump{
			jumpTo("FORWARD", "", tunnelFwdList.chain),
			jumpTo("INPUT", "", tunnelInList.chain),
			jumpTo("POSTROUTING", "", tunnelOutList.chain),
		},
		chains: []chain{
			{name: tunnelFwdList.chain, list: true},
			{name: tunnelInList.chain, list: true},
			{name: tunnelOutList.chain, list: true},
		},
	}
}
