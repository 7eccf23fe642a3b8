package libcnm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/libcnm/libcnm/internal/etcfiles"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/step"
)

// build makes what a sandbox consists of before any endpoint joins. It can be repeated.
func (sb *Sandbox) build(ctx context.Context) error {
	if err := sb.buildOwn(ctx); err != nil {
		return err
	}
	return sb.buildElsewhere(ctx)
}

// buildOwn makes what New finds by the sandbox's ID even when there is no record of it: a namespace that is ours and the files,
// at the same time.
func (sb *Sandbox) buildOwn(ctx context.Context) error {
	written := make(chan error, 1)
	go func() { written <- sb.buildFiles(ctx) }() // the shorter part
	return errors.Join(sb.placeNS(ctx), <-written)
}

func (sb *Sandbox) buildFiles(ctx context.Context) error {
	if err := sb.makeDir(); err != nil {
		return err
	}
	release, err := sb.c.queue.Lock(ctx, sandboxTurn(sb.rec.ID))
	if err != nil {
		return err
	}
	defer release()
	return sb.writeFiles()
}

// buildElsewhere makes what only the record tells of: changes of a namespace that is the runtime's, and a cgroup.
func (sb *Sandbox) buildElsewhere(ctx context.Context) error {
	if err := sb.readyForeignNS(ctx); err != nil {
		return err
	}
	if err := sb.makeCgroup(); !errors.Is(err, ErrExists) {
		return err
	}
	return nil
}

// place is build without the files, of which one says what endpoints there are.
func (sb *Sandbox) place(ctx context.Context) error {
	if err := sb.placeNS(ctx); err != nil {
		return err
	}
	if err := sb.makeDir(); err != nil {
		return err
	}
	return sb.buildElsewhere(ctx)
}

// placeNS makes a namespace that is to be ours.
func (sb *Sandbox) placeNS(ctx context.Context) error {
	if !sb.rec.Owned {
		return nil
	}
	if err := sb.ensureNS(ctx); err != nil {
		return err
	}
	return sb.setSysctls(ctx)
}

// readyForeignNS does for a runtime's namespace what placeNS does for ours.
func (sb *Sandbox) readyForeignNS(ctx context.Context) error {
	if sb.rec.Owned || sb.hostNetNS() {
		return nil
	}
	if err := sb.raiseLoopback(); err != nil {
		return err
	}
	return sb.setSysctls(ctx)
}

func (sb *Sandbox) setSysctls(ctx context.Context) error {
	if len(sb.rec.Sysctls) == 0 {
		return nil
	}
	return sb.inside(func(h *link.Handle) error { return h.SetSysctls(ctx, sb.rec.Sysctls) })
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

// ensureNS makes the namespace unless it is there, and keeps it open.
func (sb *Sandbox) ensureNS(ctx context.Context) error {
	held, err := sb.holdNS(ctx)
	if err != nil {
		return err
	}
	sb.mu.Lock()
	if sb.ns == nil || sb.ns.Identity() != held.Identity() {
		sb.number = 0
	}
	held, sb.ns = sb.ns, held
	sb.mu.Unlock()
	if held == nil {
		return nil
	}
	return held.Close()
}

// holdNS opens the namespace. One that only lost its mount, while the container lives on in it, gets it back. What an unfinished
// CreateNS left behind is made anew.
func (sb *Sandbox) holdNS(ctx context.Context) (*link.NS, error) {
	path := sb.rec.NetNS
	ns, err := link.OpenNS(path)
	if err == nil {
		held, err := ns.Hold()
		return held, errors.Join(err, ns.Close())
	}
	if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid) {
		return nil, err
	}
	if err := link.DeleteNS(path); err != nil {
		return nil, err
	}
	sb.mu.Lock()
	before := sb.ns
	sb.mu.Unlock()
	if before == nil {
		return sb.c.links.CreateHeldNS(ctx, path)
	}
	if err := before.Remount(path); err != nil {
		return nil, err
	}
	return before.Hold()
}

// releaseNS lets go of a namespace that is ours.
func (sb *Sandbox) releaseNS() error {
	sb.mu.Lock()
	ns := sb.ns
	sb.ns, sb.number = nil, 0
	sb.mu.Unlock()
	if ns == nil {
		return nil
	}
	return ns.Close()
}

// demolish removes what build made, also when some of it is gone. The namespace of a runtime stays.
func (sb *Sandbox) demolish() error { return errors.Join(sb.removeCgroup(), sb.demolishOwn()) }

// demolishOwn removes what buildOwn made.
func (sb *Sandbox) demolishOwn() error {
	var errs []error
	if sb.rec.Owned {
		errs = append(errs, sb.releaseNS(), link.DeleteNS(sb.rec.NetNS))
	}
	return errors.Join(append(errs, removeDir(sb.dir()))...)
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

// configure gives the endpoint's interface its addresses, raises it and tells the segment if somebody there may remember an
// earlier owner: the kernel does that work once for every port of the network. The Handle is in the sandbox.
func (a *attachment) configure(ctx context.Context, h *link.Handle) error {
	if err := h.Configure(ctx, a.wantInterface()); err != nil {
		return err
	}
	if err := h.WaitUp(ctx, a.made.Interface); err != nil || a.ep.Fresh {
		return err
	}
	return h.AnnounceOnce(ctx, a.made.Interface, a.ep.addresses())
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

// writeFiles writes the files for /etc. It is for the holder of the sandbox's turn.
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

// wantHosts is the hosts file: the container's own name at each of its addresses, then the extra lines. An endpoint that New
// could not attach is in the sandbox all the same.
func (sb *Sandbox) wantHosts() []byte {
	names := []string{sb.rec.Hostname}
	if sb.rec.Domainname != "" {
		names = []string{sb.rec.Hostname + "." + sb.rec.Domainname, sb.rec.Hostname}
	}
	var hosts []etcfiles.Host
	for _, a := range sb.c.state.of(sb) {
		if !a.ready && !sb.putOff(&a) {
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
