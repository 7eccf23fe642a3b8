package audit

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// auditLinks compares the host's links with those wanted. It returns only errors of looking.
func (a *audit) auditLinks(p *plan) error {
	wanted := map[string]bool{}
	for _, w := range p.links {
		wanted[w.name] = true
		l, ok := a.links.byName[w.name]
		object := "link " + w.name
		switch {
		case !ok:
			a.add(Missing, object, "want a %s with alias %s", w.kind, w.alias)
			continue
		case l.kind != w.kind || l.alias != w.alias:
			a.add(Wrong, object, "it is a %s with alias %q, want a %s with alias %q", l.kind, l.alias, w.kind, w.alias)
			continue
		}
		differ(a, object, "its group", groupOf(w.driver), l.group)
		if err := a.auditLink(w, l); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.links.byName)) {
		if l := a.links.byName[name]; !wanted[name] && ours(l) {
			a.add(Stray, "link "+name, "%s with alias %q, and no such network or endpoint is on this host", l.kind, l.alias)
		}
	}
	return nil
}

// ours reports whether a link carries our mark, or is the unfinished work of a process that was about to mark it.
func ours(l foundLink) bool {
	return strings.HasPrefix(l.alias, "libcnm:") ||
		l.alias == "" && (l.group == groupOf(bridgeDriver) || l.group == groupOf(overlayDriver))
}

func (a *audit) auditLink(w wantLink, l foundLink) error {
	object := "link " + w.name
	if !w.mac.IsZero() {
		differ(a, object, "its MAC address", w.mac, l.mac)
	}
	differ(a, object, "its MTU", w.mtu, l.mtu)
	differ(a, object, "that it is up", w.up, l.up)
	differ(a, object, "its master", w.master, a.links.byIndex[l.master].name)
	a.auditAddrs(object, w.addrs, l.addrs)
	return a.auditSysctls("the host", w.sysctls)
}

func (a *audit) auditAddrs(object string, want, have []netip.Prefix) {
	for _, p := range want {
		if !slices.Contains(have, p) {
			a.add(Missing, "address "+p.String(), "%s has %v", object, have)
		}
	}
	for _, p := range have {
		if !slices.Contains(want, p) {
			a.add(Stray, "address "+p.String(), "%s has it, want %v", object, want)
		}
	}
}

// auditSysctls looks at the calling thread's namespace.
func (a *audit) auditSysctls(where string, want map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		have, err := sysctl(key)
		if err != nil {
			return fmt.Errorf("in %s: %w", where, err)
		}
		if have == "" && strings.HasSuffix(key, "/disable_ipv6") {
			have = "1" // the kernel takes IPv6 away from an interface with a small MTU
		}
		if want := strings.Join(strings.Fields(want[key]), " "); have != want {
			a.add(Wrong, "sysctl "+key, "in %s it is %q, want %q", where, have, want)
		}
	}
	return nil
}
