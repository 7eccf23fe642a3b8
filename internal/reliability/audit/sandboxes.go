package audit

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/etcfiles"
	"github.com/libcnm/libcnm/internal/link"
)

// auditSandboxes compares each sandbox's namespace and files with its record.
func (a *audit) auditSandboxes(p *plan) error {
	for _, id := range slices.Sorted(maps.Keys(a.sandboxes)) {
		sb := a.sandboxes[id]
		if err := errors.Join(a.auditNamespace(p, sb), a.auditFiles(sb)); err != nil {
			return fmt.Errorf("sandbox %s: %w", id, err)
		}
		if sb.CgroupOwned {
			if _, err := os.Stat(sb.Cgroup); err != nil {
				a.add(Missing, "cgroup "+sb.Cgroup, "sandbox %s: %v", id, err)
			}
		}
	}
	return nil
}

// auditNamespace looks into the sandbox's namespace. One of the runtime's that is gone is the runtime's affair.
func (a *audit) auditNamespace(p *plan, sb *sandbox) (err error) {
	if sb.HostNetNS {
		return nil // without interfaces of its own
	}
	if want := filepath.Join(a.host.RunDir, "netns", sb.ID); sb.Owned && sb.NetNS != want {
		a.add(Wrong, "record sandboxes/"+sb.ID, "its namespace is %s, want %s", sb.NetNS, want)
	}
	ns, err := link.OpenNS(sb.NetNS)
	if errors.Is(err, errdefs.ErrNotFound) || errors.Is(err, errdefs.ErrInvalid) {
		if sb.Owned || len(sb.joined) > 0 {
			a.add(Missing, "namespace "+sb.NetNS, "sandbox %s: %v", sb.ID, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	return ns.Do(func() error {
		handle, err := netlink.NewHandle()
		if err != nil {
			return fmt.Errorf("open netlink socket: %w: %w", err, errdefs.ErrUnavailable)
		}
		defer handle.Close()
		t, err := readLinks(handle)
		if err != nil {
			return err
		}
		return a.auditInside(p, sb, t)
	})
}

// auditInside runs in the sandbox's namespace.
func (a *audit) auditInside(p *plan, sb *sandbox, t *linkTable) error {
	where := "sandbox " + sb.ID
	differ(a, "link lo in "+where, "that it is up", true, t.byName["lo"].up)
	wanted := p.interfaces[sb.ID]
	expected := map[int]bool{} // by the index of the host's end
	for _, w := range wanted {
		object := "link " + w.name + " in " + where
		l, ok := t.byName[w.name]
		if !ok {
			a.add(Missing, object, "want a veth whose other end is %s", w.hostLink)
			continue
		}
		host := a.links.byName[w.hostLink]
		expected[host.index] = true
		if l.kind != "veth" || l.peer != host.index || host.peer != l.index {
			a.add(Wrong, object, "it is a %s, and not the other end of %s", l.kind, w.hostLink)
		}
		differ(a, object, "its MAC address", w.mac, l.mac)
		differ(a, object, "its MTU", w.mtu, l.mtu)
		differ(a, object, "that it is up", true, l.up)
		a.auditAddrs(object, w.addrs, l.addrs)
		if err := a.auditSysctls(where, w.sysctls); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.byName)) {
		l := t.byName[name]
		if host := a.links.byIndex[l.peer]; l.kind == "veth" && !expected[l.peer] && host.peer == l.index && ours(host) {
			a.add(Stray, "link "+name+" in "+where, "it is the other end of %s", host.name)
		}
	}
	values := map[string]string{}
	for key, value := range sb.Sysctls {
		values[sysctlPath(key)] = value
	}
	return errors.Join(a.auditSysctls(where, values), a.auditRoutes(t, where, sb.routes()))
}

// routes are those of a sandbox beyond its own subnets: one default route per family, by priority and slot, and the other
// subnets of its networks, which are on the same segment.
func (sb *sandbox) routes() []route {
	var list []route
	add := func(r route) {
		if !slices.ContainsFunc(list, func(o route) bool { return o.dst == r.dst }) {
			list = append(list, r)
		}
	}
	var rest []route
	for _, is4 := range []bool{true, false} {
		var holder *endpoint
		var via netip.Addr
		for _, ep := range sb.joined {
			gateway, neighbours := ep.routes(is4)
			rest = append(rest, neighbours...)
			if gateway.IsValid() && (holder == nil || ep.Join.Priority > holder.Join.Priority) {
				holder, via = ep, gateway
			}
		}
		if holder != nil {
			dst := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			if is4 {
				dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			}
			add(route{dst: dst, via: via, dev: holder.Join.Interface})
		}
	}
	for _, r := range rest {
		add(r)
	}
	return list
}

// routes returns the endpoint's gateway of a family, and the subnets of that family it has no address in.
func (ep *endpoint) routes(is4 bool) (gateway netip.Addr, neighbours []route) {
	if ep.net == nil {
		return gateway, nil
	}
	member := false
	for _, s := range ep.net.Subnets {
		if s.Prefix.Addr().Is4() != is4 {
			continue
		}
		if !slices.ContainsFunc(ep.Addrs, func(p netip.Prefix) bool { return s.Prefix.Contains(p.Addr()) }) {
			neighbours = append(neighbours, route{dst: s.Prefix, dev: ep.Join.Interface})
			continue
		}
		member = true
		if !gateway.IsValid() && !ep.net.Internal {
			gateway = s.Gateway
		}
	}
	if !member {
		return netip.Addr{}, nil
	}
	return gateway, neighbours
}

// auditFiles compares the files for the container's /etc.
func (a *audit) auditFiles(sb *sandbox) error {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the host's resolv.conf: %w: %w", err, errdefs.ErrUnavailable)
	}
	resolv := etcfiles.ParseResolvConf(text)
	if !sb.HostNetNS {
		resolv = resolv.WithoutLoopback()
	}
	given := etcfiles.ResolvConf{Search: sb.DNS.Search, Options: sb.DNS.Options}
	for _, s := range sb.DNS.Servers {
		given.Servers = append(given.Servers, s.String())
	}
	dir := filepath.Join(a.host.RunDir, "sandboxes", sb.ID)
	for name, want := range map[string][]byte{
		etcfiles.Hostname: []byte(sb.Hostname + "\n"),
		etcfiles.Hosts:    etcfiles.RenderHosts(sb.hosts()),
		etcfiles.Resolv:   resolv.Override(given).Render(),
	} {
		path := filepath.Join(dir, name)
		have, err := os.ReadFile(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			a.add(Missing, "file "+path, "of sandbox %s", sb.ID)
		case err != nil:
			return fmt.Errorf("read file: %w: %w", err, errdefs.ErrUnavailable)
		case !bytes.Equal(have, want):
			a.add(Wrong, "file "+path, "it has %q, want %q", have, want)
		}
	}
	return nil
}

// hosts are the lines of the hosts file: the container's own name at each of its addresses, then those given.
func (sb *sandbox) hosts() []etcfiles.Host {
	names := []string{sb.Hostname}
	if sb.Domainname != "" {
		names = []string{sb.Hostname + "." + sb.Domainname, sb.Hostname}
	}
	var lines []etcfiles.Host
	for _, ep := range sb.joined {
		for _, p := range ep.Addrs {
			lines = append(lines, etcfiles.Host{Addr: p.Addr(), Names: names})
		}
	}
	for _, h := range sb.Hosts {
		lines = append(lines, etcfiles.Host{Addr: h.Addr, Names: []string{h.Name}})
	}
	return lines
}
