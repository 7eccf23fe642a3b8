package libcnm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

const (
	// defaultNodeTTL is long enough for an election of etcd and a short partition, and short enough that a dead node's
	// traffic is not sent nowhere for long.
	defaultNodeTTL = 30 * time.Second
	// registerRetry is about the pause between attempts to take the node's name again after the lease or the record was lost.
	registerRetry = time.Second
	// registerSpread is the share of the lease's time over which nodes take their names again that lost them at the same moment:
	// a tenth of the grace that peers give, one second of the default.
	registerSpread = 10 * graceShare
	// lockWait is for a lock whose owner was killed: a program that it was about to start has the lock until it runs, which
	// on a busy machine takes a while.
	lockWait  = 2 * time.Second
	lockRetry = 20 * time.Millisecond
)

// lockDir takes the lock that keeps two controllers from managing one set of namespaces. It ends with the process.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	var f *os.File
	err := step.Do("create lock file", func() (err error) {
		f, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lock run directory: %w: %w", err, ErrUnavailable)
	}
	if err := flock(ctx, f); err != nil {
		class := ErrUnavailable
		if errors.Is(err, syscall.EWOULDBLOCK) {
			class = ErrInUse
		}
		return nil, errors.Join(fmt.Errorf("run directory %s is locked by another controller: %w: %w", dir, err, class), f.Close())
	}
	return f, nil
}

// flock takes f's lock, for which it waits a moment.
func flock(ctx context.Context, f *os.File) error {
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return err
		case wait.Err() != nil:
			return errors.Join(err, ctx.Err())
		}
		pause(wait, lockRetry)
	}
}

// identify finds out who this node is: its name and address, and the identity that its data directory carries, by which
// it recognises its own records in the cluster after a restart.
func (c *NetworkController) identify(ctx context.Context, cfg *config) error {
	c.node = nodeRecord{Version: recordVersion, Name: cfg.nodeName, VTEP: cfg.underlay, Release: release()}
	if c.node.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of this node: %w: %w", err, ErrUnavailable)
		}
		if err := checkName("host name, as the node's name", host); err != nil {
			return err
		}
		c.node.Name = host
	}
	if err := c.findUnderlay(ctx); err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("boot id of this node: %w: %w", err, ErrUnavailable)
	}
	c.node.Boot = strings.TrimSpace(string(boot))

	raw, err := c.local.Get(ctx, keyNode)
	switch {
	case errors.Is(err, ErrNotFound):
		c.node.Instance, c.unclean = newID(), cfg.rebuild
	case err != nil:
		return err
	default:
		known, err := decode[identityRecord](raw)
		if err != nil {
			return err
		}
		if known.newer {
			return fmt.Errorf("data directory was used by a newer version of libcnm: %w", ErrUnsupported)
		}
		c.node.Instance = known.value.Instance
		c.rebooted = known.value.Boot != c.node.Boot
		c.unclean = known.value.Boot == ""
		return nil
	}
	if c.unclean { // and stays it until New has cleaned the host
		return c.rememberIdentity(ctx, "")
	}
	return c.rememberIdentity(ctx, c.node.Boot)
}

// rememberIdentity records this node's identity, and the boot of which all that follows from it has been done.
func (c *NetworkController) rememberIdentity(ctx context.Context, boot string) error {
	op, err := put(keyNode, identityRecord{Version: recordVersion, Instance: c.node.Instance, Boot: boot})
	if err != nil {
		return err
	}
	_, err = c.local.Commit(ctx, nil, op)
	return err
}

// findUnderlay completes the node's tunnel address and MTU. A host without a default route has neither, which only
// matters to drivers that tunnel; they say so.
func (c *NetworkController) findUnderlay(ctx context.Context) error {
	addr, mtu := c.node.VTEP, 0
	var err error
	if addr.IsValid() {
		mtu, err = c.links.MTUOf(ctx, addr)
	} else {
		addr, mtu, err = c.links.DefaultRouteAddr(ctx)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil && c.node.VTEP.IsValid() {
		return fmt.Errorf("underlay address %s is on no interface of this host: %w", c.node.VTEP, ErrInvalid)
	}
	if canTunnel(addr) {
		c.node.VTEP, c.node.MTU = addr, mtu
	}
	return nil
}

// register takes the node's name in the cluster for as long as this process lives.
func (c *NetworkController) register(ctx context.Context) error {
	leaser, ok := c.cluster.(store.Leaser)
	if !ok {
		return fmt.Errorf("cluster store %T has no leases: %w", c.cluster, ErrUnsupported)
	}
	r, err := c.claimNode(ctx, leaser)
	if err != nil {
		return err
	}
	c.tasks.Go(func() { c.stayRegistered(leaser, r) })
	return nil
}

// registration is the node's record as it was written, and the lease that keeps it.
type registration struct {
	lease store.Lease
	rev   store.Rev
}

// claimNode writes the node's record, over an earlier one of the same data directory only.
func (c *NetworkController) claimNode(ctx context.Context, leaser store.Leaser) (registration, error) {
	key := keyNodeRecord(c.node.Name)
	value, err := encode(key, c.node)
	if err != nil {
		return registration{}, err
	}
	guard := store.Absent(key)
	raw, err := c.cluster.Get(ctx, key)
	if err == nil {
		other, err := decode[nodeRecord](raw)
		if err != nil {
			return registration{}, err
		}
		if other.value.Instance != c.node.Instance && c.isLost(&other.value) {
			if err := c.takeBack(ctx, &other.value); err != nil {
				return registration{}, err
			}
		}
		if other.value.Instance != c.node.Instance {
			return registration{}, fmt.Errorf("node name %s belongs to a controller with another data directory, at %s: %w",
				c.node.Name, other.value.VTEP, ErrInUse)
		}
		guard = store.Unchanged(raw)
	} else if !errors.Is(err, ErrNotFound) {
		return registration{}, err
	}
	lease, err := leaser.Grant(ctx, c.nodeTTL)
	if err != nil {
		return registration{}, err
	}
	rev, err := c.cluster.Commit(ctx, []store.Guard{guard}, store.PutLeased(key, value, lease))
	if err == nil {
		return registration{lease, rev}, nil
	}
	if errors.Is(err, ErrConflict) {
		err = fmt.Errorf("node name %s was taken by another controller at this moment: %w", c.node.Name, ErrInUse)
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	return registration{}, errors.Join(err, lease.Revoke(undo))
}

// stayRegistered takes the name again whenever the lease or the record is lost, until the controller closes.
//
// That a lease has ended is learned when it is next kept alive, a third of its time later, when peers are about to give the
// node up. That its record is gone is learned at once.
func (c *NetworkController) stayRegistered(leaser store.Leaser, r registration) {
	for {
		select {
		case <-c.background.Done():
			// Not revoked: peers would take out the flows to endpoints that live on while this program restarts.
			return
		case <-r.lease.Done():
			c.log.Warn("lease of the node record was lost", "node", c.node.Name)
		case <-c.peers.self:
			lost, err := c.recordLost(r)
			if err != nil {
				pause(c.background, registerRetry)
				signal(c.peers.self) // look again
			}
			if !lost {
				continue // yet, or it was an earlier one, which has been made good
			}
			c.log.Warn("node record was lost", "node", c.node.Name)
		}
		pause(c.background, rand.N(c.nodeTTL/registerSpread))
		next, err := c.claimNode(c.background, leaser)
		for ; err != nil && c.background.Err() == nil; next, err = c.claimNode(c.background, leaser) {
			c.log.Warn("node record could not be written again", "node", c.node.Name, "error", err)
			pause(c.background, registerRetry/2+rand.N(registerRetry))
		}
		if err != nil {
			return
		}
		c.log.Info("node record is written again", "node", c.node.Name)
		before := r.lease
		c.tasks.Go(func() { c.endLease(before) })
		r = next
	}
}

// recordLost reports whether the store has another record of this node than the one that was written, or none.
func (c *NetworkController) recordLost(r registration) (bool, error) {
	raw, err := c.cluster.Get(c.background, keyNodeRecord(c.node.Name))
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	return err == nil && raw.Rev != r.rev, err
}

// endLease ends a lease that has no records any more, but is kept alive still when only the record was deleted.
func (c *NetworkController) endLease(lease store.Lease) {
	ctx, cancel := context.WithTimeout(c.background, undoTimeout)
	defer cancel()
	if err := lease.Revoke(ctx); err != nil && c.background.Err() == nil {
		c.log.Info("earlier lease of the node record ends when its time is up", "node", c.node.Name, "error", err)
	}
}

// release is the version of libcnm that the program was built with.
func release() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	const module = "github.com/libcnm/libcnm"
	if info.Main.Path == module {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return "unknown"
}

// tunnels reports whether the node has an address for tunnels.
func (c *NetworkController) tunnels() bool { return c.node.VTEP != netip.Addr{} }
