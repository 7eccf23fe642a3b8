package libcnm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/etcfiles"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/step"
)

// cgroup2Magic is CGROUP2_SUPER_MAGIC of linux/magic.h.
const cgroup2Magic = 0x63677270

// The two default routes.
var (
	defaultRoute4 = netip.MustParsePrefix("0.0.0.0/0")
	defaultRoute6 = netip.MustParsePrefix("::/0")
)

// build makes what a sandbox consists of before any endpoint joins, namespace and files at the same time. It can be repeated.
func (sb *Sandbox) build(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return sb.placeNS(ctx) })
	group.Go(func() error {
		if err := sb.makeDir(); err != nil {
			return err
		}
		return sb.writeFiles()
	})
	return group.Wait()
}

// place is build without the files, which say what endpoints there are.
func (sb *Sandbox) place(ctx context.Context) error {
	if err := sb.placeNS(ctx); err != nil {
		return err
	}
	return sb.makeDir()
}

func (sb *Sandbox) placeNS(ctx context.Context) error {
	if sb.rec.Owned {
		if err := sb.ensureNS(); err != nil {
			return err
		}
	}
	if !sb.rec.Owned && !sb.hostNetNS() {
		if err := sb.raiseLoopback(); err != nil {
			return err
		}
	}
	if len(sb.rec.Sysctls) > 0 {
		err := sb.inside(func(h *link.Handle) error { return h.SetSysctls(ctx, sb.rec.Sysctls) })
		if err != nil {
			return err
		}
	}
	if sb.rec.CgroupOwned {
		err := step.Do("make cgroup", func() error { return os.Mkdir(sb.rec.Cgroup, 0o755) })
		if err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make cgroup: %w: %w", err, ErrUnavailable)
		}
	}
	return nil
}

func (sb *Sandbox) makeDir() error {
	err := step.Do("make sandbox directory", func() error { return os.Mkdir(sb.dir(), 0o700) })
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make sandbox directory: %w: %w", err, ErrUnavailable)
	}
	return nil
}

// raiseLoopback does for a runtime's fresh namespace what CreateNS does for ours.
func (sb *Sandbox) raiseLoopback() error {
	ns, err := link.OpenNS(sb.rec.NetNS)
	if err != nil {
		return err
	}
	return errors.Join(ns.RaiseLoopback(), ns.Close())
}

// ensureNS makes the namespace unless it is there, and keeps it open: one that only lost its mount, while the container
// lives on in it, gets it back. What an unfinished CreateNS left behind is made anew.
func (sb *Sandbox) ensureNS() error {
	path := sb.rec.NetNS
	ns, err := link.OpenNS(path)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) {
		sb.mu.Lock()
		held := sb.ns
		sb.mu.Unlock()
		place := link.CreateNS
		if held != nil {
			place = held.Remount
		}
		if err := link.DeleteNS(path); err != nil {
			return err
		}
		if err := place(path); err != nil {
			return err
		}
		ns, err = link.OpenNS(path)
	}
	if err != nil {
		return err
	}
	held, err := ns.Hold()
	if err = errors.Join(err, ns.Close()); err != nil {
		return err
	}
	sb.mu.Lock()
	held, sb.ns = sb.ns, held
	sb.mu.Unlock()
	if held == nil {
		return nil
	}
	return held.Close()
}

// releaseNS lets go of a namespace that is ours.
func (sb *Sandbox) releaseNS() error {
	sb.mu.Lock()
	ns := sb.ns
	sb.ns = nil
	sb.mu.Unlock()
	if ns == nil {
		return nil
	}
	return ns.Close()
}

// demolish removes what build made, also when some of it is gone. The namespace of a runtime stays.
func (sb *Sandbox) demolish() error {
	var errs []error
	if sb.rec.Owned {
		errs = append(errs, sb.releaseNS(), link.DeleteNS(sb.rec.NetNS))
	}
	errs = append(errs, sb.removeCgroup())
	errs = append(errs, removeDir(sb.dir()))
	return errors.Join(errs...)
}

// removeDir removes the directory of a sandbox's files. It is one step because whoever repeats it does not care how far the
// one before came.
func removeDir(dir string) error {
	if err := step.Do("remove sandbox directory", func() error { return os.RemoveAll(dir) }); err != nil {
		return fmt.Errorf("remove sandbox directory: %w: %w", err, ErrUnavailable)
	}
	return nil
}

// gone reports whether the namespace does not exist any more, so that nothing in it needs to be undone.
func (sb *Sandbox) gone() bool {
	ns, err := link.OpenNS(sb.rec.NetNS)
	if err == nil {
		err = ns.Close()
	}
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid)
}

// configure gives a joined endpoint's interface its addresses, raises it and tells the segment if somebody there may
// remember an earlier owner: the kernel does that work once for every port of the network.
func (sb *Sandbox) configure(ctx context.Context, a *attachment) error {
	return sb.inside(func(h *link.Handle) error {
		if err := h.Configure(ctx, a.wantInterface()); err != nil {
			return err
		}
		if err := h.WaitUp(ctx, a.made.Interface); err != nil || a.ep.Fresh {
			return err
		}
		return h.AnnounceOnce(ctx, a.made.Interface, a.ep.addresses())
	})
}

// wantInterface is how the interface should be.
func (a *attachment) wantInterface() link.Interface {
	i := link.Interface{
		Name: a.made.Interface, MTU: a.made.MTU, Addrs: a.ep.Addrs, Up: true, NeighbourRetry: a.made.NeighbourRetry,
	}
	if len(a.ep.Join.Sysctls) > 0 {
		i.Sysctls = make(map[string]string, len(a.ep.Join.Sysctls))
		for key, value := range a.ep.Join.Sysctls {
			i.Sysctls[strings.ReplaceAll(key, "IFNAME", a.made.Interface)] = value
		}
	}
	return i
}

// route makes the sandbox's routes and hosts file those of the endpoints that are ready, after the change that begins it.
// Change and consequences are one turn, so that nobody takes the difference for damage.
func (sb *Sandbox) route(ctx context.Context, change func()) error {
	release, err := sb.c.queue.Lock(ctx, sandboxTurn(sb.rec.ID))
	if err != nil {
		return err
	}
	defer release()
	change()
	if !sb.hostNetNS() {
		if err := sb.inside(func(h *link.Handle) error { return h.SetRoutes(ctx, sb.wantRoutes()) }); err != nil {
			return err
		}
	}
	return sb.writeFiles()
}

// routeIfThere is route for an endpoint that leaves, perhaps because the runtime's namespace is gone.
func (sb *Sandbox) routeIfThere(ctx context.Context, change func()) error {
	err := sb.route(ctx, change)
	if err != nil && sb.gone() {
		return nil
	}
	return err
}

// wantRoutes are the routes beyond those to the endpoints' own subnets: one default route per family, by the rule that
// Endpoint.Join documents, and what drivers asked for. Of two endpoints that claim one destination the first has it.
func (sb *Sandbox) wantRoutes() []link.Route {
	list := sb.c.state.of(sb)
	var routes []link.Route
	seen := make(map[netip.Prefix]bool)
	add := func(r link.Route) {
		if !seen[r.Dst] {
			seen[r.Dst] = true
			routes = append(routes, r)
		}
	}
	for _, dst := range []netip.Prefix{defaultRoute4, defaultRoute6} {
		var holder *attachment
		var via netip.Addr
		for i := range list {
			a := &list[i]
			gw := a.gateway(dst.Addr().Is4())
			if gw.IsValid() && (holder == nil || a.ep.Join.Priority > holder.ep.Join.Priority) {
				holder, via = a, gw
			}
		}
		if holder != nil {
			add(link.Route{Dst: dst, Via: via, Dev: holder.made.Interface})
		}
	}
	for i := range list {
		if !list[i].ready {
			continue
		}
		for _, r := range list[i].made.Routes {
			add(link.Route{Dst: r.Dst, Via: r.Via, Dev: list[i].made.Interface})
		}
	}
	return routes
}

// gateway returns the attachment's first hop of a family, or the zero Addr.
func (a *attachment) gateway(ipv4 bool) netip.Addr {
	if a.ready && a.made.Interface != "" {
		for _, gw := range a.made.Gateways {
			if gw.Is4() == ipv4 {
				return gw
			}
		}
	}
	return netip.Addr{}
}

// writeFiles writes the files for /etc.
func (sb *Sandbox) writeFiles() error {
	resolv, err := sb.wantResolv()
	if err != nil {
		return err
	}
	return errors.Join(
		etcfiles.Write(sb.dir(), etcfiles.Hostname, []byte(sb.rec.Hostname+"\n")),
		etcfiles.Write(sb.dir(), etcfiles.Hosts, sb.wantHosts()),
		etcfiles.Write(sb.dir(), etcfiles.Resolv, resolv),
	)
}

// wantHosts is the hosts file: the container's own name at each of its addresses, then the extra lines.
func (sb *Sandbox) wantHosts() []byte {
	names := []string{sb.rec.Hostname}
	if sb.rec.Domainname != "" {
		names = []string{sb.rec.Hostname + "." + sb.rec.Domainname, sb.rec.Hostname}
	}
	var hosts []etcfiles.Host
	for _, a := range sb.c.state.of(sb) {
		if !a.ready {
			continue
		}
		for _, addr := range a.ep.addresses() {
			hosts = append(hosts, etcfiles.Host{Addr: addr, Names: names})
		}
	}
	for _, h := range sb.rec.Hosts {
		hosts = append(hosts, etcfiles.Host{Addr: h.Addr, Names: []string{h.Name}})
	}
	return etcfiles.RenderHosts(hosts)
}

// wantResolv is the resolv.conf: what WithDNS said over what the host's has.
func (sb *Sandbox) wantResolv() ([]byte, error) {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the host's resolv.conf: %w: %w", err, ErrUnavailable)
	}
	given := etcfiles.ResolvConf{Search: sb.rec.DNS.Search, Options: sb.rec.DNS.Options}
	for _, s := range sb.rec.DNS.Servers {
		given.Servers = append(given.Servers, s.String())
	}
	host := etcfiles.ParseResolvConf(text)
	if !sb.hostNetNS() {
		host = host.WithoutLoopback()
	}
	return host.Override(given).Render(), nil
}

// checkCgroup refuses what cannot be a cgroup v2 directory. It reports whether the group is still to be made.
func checkCgroup(path string) (absent bool, err error) {
	dir := path
	if fi, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		absent, dir = true, filepath.Dir(path)
	} else if err != nil {
		return false, fmt.Errorf("cgroup: %w: %w", err, ErrInvalid)
	} else if !fi.IsDir() {
		return false, fmt.Errorf("cgroup %s is not a directory: %w", path, ErrInvalid)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false, fmt.Errorf("cgroup %s: its parent: %w: %w", path, err, ErrInvalid)
	}
	if fs.Type != cgroup2Magic {
		return false, fmt.Errorf("cgroup %s is not in a cgroup v2 hierarchy: %w", path, ErrUnsupported)
	}
	return absent, nil
}

// removeCgroup removes the group if we made it. One with processes cannot be removed.
func (sb *Sandbox) removeCgroup() error {
	err := sb.closeCgroup()
	if sb.rec.CgroupOwned {
		failed := step.Do("remove cgroup", func() error { return os.Remove(sb.rec.Cgroup) })
		if failed != nil && !errors.Is(failed, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cgroup: %w: %w", failed, ErrInUse))
		}
	}
	return err
}

func (sb *Sandbox) closeCgroup() error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.cgroup == nil {
		return nil
	}
	err := sb.cgroup.Close()
	sb.cgroup = nil
	return err
}

// cgroupFD is the open directory of the sandbox's cgroup, -1 without one. It stays open until the sandbox is deleted or the
// controller closed.
func (sb *Sandbox) cgroupFD() (int, error) {
	if sb.rec.Cgroup == "" {
		return -1, nil
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.cgroup == nil {
		f, err := os.Open(sb.rec.Cgroup)
		if err != nil {
			return -1, fmt.Errorf("open cgroup: %w: %w", err, ErrUnavailable)
		}
		sb.cgroup = f
	}
	return int(sb.cgroup.Fd()), nil
}
