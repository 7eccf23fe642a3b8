package libcnm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/etcfiles"
	"github.com/libcnm/libcnm/internal/link"
)

// Sandbox is a container's network stack on this node: a namespace, the interfaces of its endpoints, routes, sysctls
// and the files for its /etc. There is one Sandbox value for each sandbox of a controller.
type Sandbox struct {
	c   *NetworkController
	rec *sandboxRecord // never changed

	leaving bool                               // guarded by c.state.mu: no endpoint may join any more
	joined  map[drivers.EndpointID]*attachment // guarded by c.state.mu

	mu     sync.Mutex // guards what follows
	cgroup *os.File   // opened when first needed
	ns     *link.NS   // of a namespace that is ours, so that it outlives its mount
	number int        // of ns, see numberOf; 0: not known
}

// sandbox makes the value for a record. The host's namespace has the path of this process's, which a record cannot keep.
func (c *NetworkController) sandbox(rec *sandboxRecord) *Sandbox {
	if rec.HostNetNS {
		rec.NetNS = fmt.Sprintf("/proc/%d/ns/net", os.Getpid())
	}
	return &Sandbox{c: c, rec: rec, joined: make(map[drivers.EndpointID]*attachment)}
}

// ID returns the sandbox's identity: 32 hexadecimal digits, never reused.
func (sb *Sandbox) ID() string { return sb.rec.ID }

// ContainerID returns what the runtime called the container.
func (sb *Sandbox) ContainerID() string { return sb.rec.ContainerID }

// Key returns the path of the sandbox's network namespace, for setns(2) and for runtimes' configuration.
func (sb *Sandbox) Key() string { return sb.rec.NetNS }

// Labels returns a copy of the labels.
func (sb *Sandbox) Labels() map[string]string { return maps.Clone(sb.rec.Labels) }

// HostnamePath is the file for the container's /etc/hostname, which the runtime mounts there.
func (sb *Sandbox) HostnamePath() string { return filepath.Join(sb.dir(), etcfiles.Hostname) }

// HostsPath is the file for /etc/hosts. It follows the endpoints that join and leave.
func (sb *Sandbox) HostsPath() string { return filepath.Join(sb.dir(), etcfiles.Hosts) }

// ResolvConfPath is the file for /etc/resolv.conf.
func (sb *Sandbox) ResolvConfPath() string { return filepath.Join(sb.dir(), etcfiles.Resolv) }

func (sb *Sandbox) dir() string { return filepath.Join(sb.c.sandboxDir(), sb.rec.ID) }

func (sb *Sandbox) hostNetNS() bool { return sb.rec.HostNetNS }

// Endpoints returns the endpoints that are joined, in the order of their interfaces.
func (sb *Sandbox) Endpoints() []*Endpoint {
	var list []*Endpoint
	for _, a := range sb.c.state.of(sb) {
		if a.rev == 0 {
			continue // being joined
		}
		list = append(list, a.network.endpoint(a.stored()))
	}
	return list
}

// Sandboxes returns the sandboxes of this node, in the order of their container IDs.
func (c *NetworkController) Sandboxes() []*Sandbox { return c.state.allSandboxes() }

// SandboxByID returns the sandbox of that ID, or ErrNotFound.
func (c *NetworkController) SandboxByID(id string) (_ *Sandbox, err error) {
	defer wrap(&err, "find sandbox", id)
	if !isID(id) {
		return nil, fmt.Errorf("sandbox ID is not 32 hexadecimal digits: %w", ErrInvalid)
	}
	if sb, ok := c.state.sandbox(id, ""); ok {
		return sb, nil
	}
	return nil, ErrNotFound
}

// SandboxByContainer returns the sandbox of that container, or ErrNotFound.
func (c *NetworkController) SandboxByContainer(containerID string) (_ *Sandbox, err error) {
	defer wrap(&err, "find sandbox of container", containerID)
	if err := checkName("container ID", containerID); err != nil {
		return nil, err
	}
	if sb, ok := c.state.sandbox("", containerID); ok {
		return sb, nil
	}
	return nil, ErrNotFound
}

// Delete takes the sandbox out of every network it is in, then removes it. Its endpoints remain, joined to nothing. A
// sandbox that is gone already is no error. While there are processes in a cgroup that WithCgroup made it is ErrInUse.
func (sb *Sandbox) Delete(ctx context.Context) (err error) {
	defer wrap(&err, "delete sandbox", sb.rec.ContainerID)
	exit, err := sb.c.enter()
	if err != nil {
		return err
	}
	defer exit()
	release, err := sb.c.queue.Lock(ctx, containerTurn(sb.rec.ContainerID))
	if err != nil {
		return err
	}
	defer release()
	if !sb.c.state.setLeaving(sb, true) {
		return nil
	}
	if err := sb.remove(ctx); err != nil {
		sb.c.state.setLeaving(sb, false)
		return err
	}
	return nil
}

func (sb *Sandbox) remove(ctx context.Context) error {
	if err := sb.leaveAll(ctx); err != nil {
		return err
	}
	// Only the record knows of the group, and processes in it keep it: then the sandbox stays, to be deleted again.
	if err := sb.removeCgroup(); err != nil {
		return err
	}
	// The record goes first: what a crash leaves of the rest then has no owner, and New removes it.
	if err := sb.unrecord(ctx); err != nil {
		return err
	}
	sb.c.state.dropSandbox(sb)
	return sb.demolish()
}

// leaveAll takes every endpoint out, side by side. One that is still being joined is waited for.
func (sb *Sandbox) leaveAll(ctx context.Context) error {
	var (
		wg   sync.WaitGroup
		list = sb.c.state.of(sb)
		errs = make([]error, len(list))
	)
	for i, a := range list {
		e := a.network.endpoint(a.stored())
		wg.Go(func() { errs[i] = e.leaveIfJoined(ctx, sb) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// leaveIfJoined is Leave for a sandbox that is being deleted.
func (e *Endpoint) leaveIfJoined(ctx context.Context, sb *Sandbox) error {
	release, err := e.network.c.queue.Lock(ctx, endpointTurn(e.id))
	if err != nil {
		return err
	}
	defer release()
	a, seen := e.network.c.state.attached(e.id)
	if a == nil || seen.sandbox != sb {
		return nil
	}
	return e.network.c.leave(ctx, e, a)
}

// Command prepares a program to be run inside the sandbox's namespace, and in its cgroup if it has one. It is not
// started; ctx ends it when it runs. A cgroup that cannot be opened makes the command's start fail.
//
// The process that Start makes enters the namespace and then becomes the program: its number is the program's, which
// may be outside for a moment yet. SysProcAttr may be set already; change its fields, do not replace it.
func (sb *Sandbox) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	fd, err := sb.cgroupFD()
	cmd := link.Command(ctx, sb.rec.NetNS, fd, name, args...)
	if err != nil {
		cmd.Err = err
	}
	return cmd
}

// InterfaceStatistics are the counters of one interface since it was made.
type InterfaceStatistics struct {
	Interface                               string
	Endpoint                                string // its ID
	Network                                 string // its network's ID
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Statistics returns the counters of the sandbox's interfaces, in their order.
func (sb *Sandbox) Statistics(ctx context.Context) (_ []InterfaceStatistics, err error) {
	defer wrap(&err, "statistics of sandbox", sb.rec.ContainerID)
	exit, err := sb.c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	release, err := sb.c.queue.Lock(ctx, sandboxTurn(sb.rec.ID)) // no interface goes meanwhile
	if err != nil {
		return nil, err
	}
	defer release()
	var list []InterfaceStatistics
	err = sb.inside(func(h *link.Handle) error {
		for _, a := range sb.c.state.of(sb) {
			if !a.ready || a.made.Interface == "" {
				continue
			}
			st, err := h.Stats(ctx, a.made.Interface)
			if err != nil {
				return err
			}
			list = append(list, InterfaceStatistics{
				Interface: a.made.Interface, Endpoint: string(a.ep.ID), Network: string(a.ep.Network),
				RxBytes: st.RxBytes, RxPackets: st.RxPackets, RxErrors: st.RxErrors, RxDropped: st.RxDropped,
				TxBytes: st.TxBytes, TxPackets: st.TxPackets, TxErrors: st.TxErrors, TxDropped: st.TxDropped,
			})
		}
		return nil
	})
	return list, err
}

// inside calls fn with a Handle in the sandbox's namespace.
func (sb *Sandbox) inside(fn func(*link.Handle) error) (err error) {
	ns, err := link.OpenNS(sb.rec.NetNS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	h, err := link.Open(ns)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	return fn(h)
}
