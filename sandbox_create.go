package libcnm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/store"
)

// NewSandbox makes the network stack of a container: a namespace with loopback up, or the one of WithNetNS, and the files
// for its /etc. The container ID is a name of the runtime's choice, unique on this node (ErrExists).
func (c *NetworkController) NewSandbox(ctx context.Context, containerID string, opts ...SandboxOption) (_ *Sandbox, err error) {
	defer wrap(&err, "create sandbox", containerID)
	exit, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer exit()
	rec, err := c.planSandbox(containerID, opts)
	if err != nil {
		return nil, err
	}
	release, err := c.queue.Lock(ctx, containerTurn(containerID))
	if err != nil {
		return nil, err
	}
	defer release()
	// Before its namespace is looked at: who repeats a call is to learn that it has happened.
	if _, known := c.state.sandbox("", containerID); known {
		return nil, fmt.Errorf("a sandbox of that container: %w", ErrExists)
	}
	if !rec.Owned && !rec.HostNetNS {
		release, err := c.claimNS(ctx, rec.NetNS)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	sb := c.sandbox(rec)
	if err := sb.make(ctx); err != nil {
		return nil, err
	}
	c.state.addSandbox(sb)
	return sb, nil
}

// make commits the sandbox and builds it, or takes back what it has done. The commit waits for the disk, and what New finds
// without a record need not wait for it.
func (sb *Sandbox) make(ctx context.Context) error {
	recorded := make(chan error, 1)
	go func() { recorded <- sb.record(ctx) }()
	err := sb.buildOwn(ctx)
	err = errors.Join(<-recorded, err)
	if err == nil {
		err = sb.readyForeignNS(ctx)
	}
	if err == nil {
		err = sb.makeCgroup() // one that has appeared since it was looked for is somebody else's
	}
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return errors.Join(err, sb.demolishOwn(), sb.unrecord(ctx))
}

// planSandbox checks the input, the namespace and the cgroup it names too, before anything is changed.
func (c *NetworkController) planSandbox(containerID string, opts []SandboxOption) (*sandboxRecord, error) {
	if err := checkName("container ID", containerID); err != nil {
		return nil, err
	}
	var cfg sandboxConfig
	if err := apply(&cfg, opts); err != nil {
		return nil, err
	}
	rec := &sandboxRecord{
		Version: recordVersion, ID: newID(), ContainerID: containerID,
		Hostname: cfg.hostname, Domainname: cfg.domainname, DNS: cfg.dns, Hosts: cfg.hosts,
		Sysctls: cfg.sysctls, Cgroup: cfg.cgroup, Labels: cfg.labels,
	}
	if rec.Hostname == "" {
		rec.Hostname = containerID[:min(len(containerID), 12)]
	}
	switch {
	case cfg.hostNetNS && (cfg.netns != "" || len(cfg.sysctls) > 0):
		return nil, fmt.Errorf("the host's namespace cannot be combined with another namespace or with sysctls: %w", ErrInvalid)
	case cfg.hostNetNS:
		rec.HostNetNS = true
	case cfg.netns != "":
		rec.NetNS = cfg.netns
		if err := c.checkForeignNS(cfg.netns); err != nil {
			return nil, err
		}
	default:
		rec.Owned, rec.NetNS = true, filepath.Join(c.namespaceDir(), rec.ID)
	}
	for key, value := range cfg.sysctls {
		if err := link.CheckSysctl(key, value); err != nil {
			return nil, err
		}
	}
	if rec.Cgroup != "" {
		owned, err := checkCgroup(rec.Cgroup)
		if err != nil {
			return nil, err
		}
		rec.CgroupOwned = owned
	}
	return rec, nil
}

// record commits the sandbox to the local store.
func (sb *Sandbox) record(ctx context.Context) error {
	var b batch
	b.create(put(keySandbox(sb.rec.ID), *sb.rec))
	b.create(ref(keyContainer(sb.rec.ContainerID), sb.rec.ID))
	if b.err != nil {
		return b.err
	}
	_, err := sb.c.local.Commit(ctx, b.guards, b.ops...)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	return sb.supersede(ctx)
}

// supersede commits the sandbox over a record of which there is no sandbox: the store did not answer when a NewSandbox
// that failed wrote it or took it back.
func (sb *Sandbox) supersede(ctx context.Context) error {
	raw, err := sb.c.local.Get(ctx, keyContainer(sb.rec.ContainerID))
	if err != nil {
		return err
	}
	old, err := decode[refRecord](raw)
	if err != nil {
		return err
	}
	g, err := old.unchanged()
	if err != nil {
		return err
	}
	var b batch
	b.guard(g)
	b.op(store.Delete(keySandbox(old.value.ID)))
	b.put(put(keySandbox(sb.rec.ID), *sb.rec))
	b.put(ref(keyContainer(sb.rec.ContainerID), sb.rec.ID))
	if b.err != nil {
		return b.err
	}
	_, err = sb.c.local.Commit(ctx, b.guards, b.ops...)
	return err
}

// unrecord undoes record, also if its outcome is not known. A container's key that leads to another sandbox stays.
func (sb *Sandbox) unrecord(ctx context.Context) error {
	key := keySandbox(sb.rec.ID)
	_, err := sb.c.local.Commit(ctx, []store.Guard{store.Exists(key)}, store.Delete(key), store.Delete(keyContainer(sb.rec.ContainerID)))
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}
