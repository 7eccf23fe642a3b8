package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Family is an address family; each has tables, rules and programs of its own.
type Family string

// The families, named as the kernel's own tools do.
const (
	IPv4 Family = "ip"
	IPv6 Family = "ip6"
)

var families = []Family{IPv4, IPv6}

// tableOrder is the order in which tables are changed: guards first, translation last.
var tableOrder = []string{"mangle", "filter", "nat"}

// The names that other admins may rely on. Everything else that begins with chainPrefix is this package's, made and
// deleted as it sees fit.
const (
	chainPrefix = "CNM-"
	userChain   = "CNM-USER" // names that begin with it are the admin's
	jumpMark    = "libcnm"   // comment of our rules in the built-in chains
)

func ownChain(name string) bool {
	return strings.HasPrefix(name, chainPrefix) && !strings.HasPrefix(name, userChain)
}

// Ruleset is everything this package wants in one family's tables. The zero value wants nothing.
type Ruleset struct {
	family Family
	tables []table
}

type table struct {
	name   string
	user   bool // has userChain
	jumps  []jump
	chains []chain
}

// jump is a rule of ours in a built-in chain.
type jump struct {
	from string // the built-in chain
	rule string
}

// chain is a chain of ours. Rules are as iptables-save prints them after "-A NAME ".
type chain struct {
	name  string
	list  bool // see listID
	rules []string
}

// listID names a chain that holds one or more rules per network, in which order does not matter: that is what makes one
// network's rules an addition or a deletion independent of all others.
type listID struct{ table, chain string }

// lists holds the rules that depend on the networks.
type lists map[listID][]string

func (l lists) add(id listID, format string, args ...any) {
	l[id] = append(l[id], fmt.Sprintf(format, args...))
}

// merge adds those of m's rules that l does not have.
func (l lists) merge(m lists) {
	for id, rules := range m {
		have := make(map[string]bool, len(l[id]))
		for _, r := range l[id] {
			have[canonical(r)] = true
		}
		for _, r := range rules {
			if key := canonical(r); !have[key] {
				have[key] = true
				l[id] = append(l[id], r)
			}
		}
	}
}

// tables returns the names of the tables in which l has rules.
func (l lists) tables() []string {
	names := make(map[string]bool)
	for id, rules := range l {
		if len(rules) > 0 {
			names[id.table] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (r Ruleset) table(name string) table {
	for _, t := range r.tables {
		if t.name == name {
			return t
		}
	}
	return table{name: name}
}

// String returns the ruleset as text for iptables-restore --noflush on a host that has none of it yet.
func (r Ruleset) String() string {
	var b strings.Builder
	for _, t := range r.tables {
		s := script{}
		if t.user {
			s.create(userChain)
		}
		for _, c := range t.chains {
			s.reset(c.name)
			for _, rule := range c.rules {
				s.append(c.name, rule)
			}
		}
		for _, j := range t.jumps {
			s.insert(j.from, j.rule)
		}
		s.writeTo(&b, t.name)
	}
	return b.String()
}

// count returns how many rules the lists of each table have.
func (r Ruleset) count() map[string]int {
	n := make(map[string]int)
	for _, t := range r.tables {
		for _, c := range t.chains {
			if c.list {
				n[t.name] += len(c.rules)
			}
		}
	}
	return n
}
