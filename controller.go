package libcnm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/keyed"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
)

// undoTimeout bounds what is done after a call failed or its context ended: taking back what it had begun.
const undoTimeout = 10 * time.Second

// NetworkController is the entry to libcnm: one per node and data directory. All methods, and those of the objects it
// hands out, are safe for concurrent use. Calls about different endpoints run in parallel.
type NetworkController struct {
	log    *slog.Logger
	runDir string
	pools  []AddressPool // of both families
	node   nodeRecord
	// rebooted: the kernel is another than that of the controller before. Set by New only.
	rebooted bool
	unclean  bool // this host may have what no record knows of any more. Set by New only.
	check    time.Duration
	nodeTTL  time.Duration
	drivers  map[string]*driverHost

	local   store.Store
	cluster store.Store // the local one when the cluster is this node
	lock    *os.File    // on the run directory
	links   *link.Handle
	closers []func() error // what New opened, in that order

	state *hostState
	// The records of the local store and of the cluster's that this controller has met and could not read.
	unreadableHere, unreadableShared *unreadable
	allocs                           allocators
	peers                            *nodeDirectory
	queue                            keyed.Queue
	stats                            counters
	looked                           int           // sandboxes that repair has looked at without a sign; maintain's own
	wake                             chan cause    // reasons to reconcile; buffered, one is enough
	lost                             chan struct{} // hostState.lost is not empty; buffered, one is enough
	doubted                          chan struct{} // hostState.doubts is not empty; buffered, one is enough

	background context.Context // of the controller's own goroutines; ends with Close
	cancel     context.CancelFunc
	tasks      sync.WaitGroup // those goroutines

	mu     sync.Mutex // guards closed and additions to calls
	closed bool
	calls  sync.WaitGroup // public methods in progress
}

// New opens the stores, brings the host into the state they describe, and follows the cluster from then on. What a
// controller before it left behind, however it ended, is adopted or removed; traffic of endpoints that are joined is
// not disturbed.
//
// It fails with ErrInvalid when the data or run directory is another user's, or others can write to it or replace it;
// with ErrInUse when another controller uses the data or run directory or, in the cluster, the node's name,
// and with ErrUnavailable when a store does not answer; nothing has been changed then.
//
// It does not fail because of what only a part of the work needs. A driver that cannot work yet, even if it is the only
// one, is tried again every second: calls about its networks are ErrUnavailable meanwhile. So is an endpoint whose
// interface cannot be made. A record that cannot be read is left alone. The log, Check and Stats name them.
func New(ctx context.Context, opts ...Option) (_ *NetworkController, err error) {
	defer wrap(&err, "new controller")
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	c := &NetworkController{
		log: cfg.log, runDir: cfg.runDir, check: cfg.checkInterval, nodeTTL: cfg.nodeTTL,
		state: newHostState(), peers: newNodeDirectory(cfg.nodeTTL),
		unreadableHere: newUnreadable(cfg.log), unreadableShared: newUnreadable(cfg.log),
		wake: make(chan cause, 1), lost: make(chan struct{}, 1), doubted: make(chan struct{}, 1),
		drivers: make(map[string]*driverHost),
	}
	c.background, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, d := range cfg.drivers {
		c.drivers[d.Info().Name] = newDriverHost(d)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.shutdown())
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.openDirs(ctx, cfg); err != nil {
		return nil, err
	}
	if err := c.identify(ctx, cfg); err != nil {
		return nil, err
	}
	if c.pools = cfg.pools; c.pools == nil {
		if c.pools, err = c.defaultPools(); err != nil {
			return nil, err
		}
	}
	if err := c.openCluster(ctx, cfg); err != nil {
		return nil, err
	}
	if err := c.openDrivers(cfg); err != nil {
		return nil, err
	}
	if err := c.restore(ctx); err != nil {
		return nil, err
	}
	c.tasks.Go(c.maintain)
	c.tasks.Go(c.settleDoubts)
	return c, nil
}

// openDirs makes the directories, takes the lock on the run directory and opens the local store.
func (c *NetworkController) openDirs(ctx context.Context, cfg *config) error {
	for _, dir := range []string{cfg.dataDir, cfg.runDir, c.namespaceDir(), c.sandboxDir()} {
		if err := ensureDir(dir); err != nil {
			return err
		}
	}
	lock, err := lockDir(ctx, cfg.runDir)
	if err != nil {
		return err
	}
	c.lock = lock
	c.closers = append(c.closers, lock.Close)

	if err := c.openLocal(ctx, cfg); err != nil {
		return err
	}
	c.links, err = link.Open(nil)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, c.links.Close)
	return nil
}

// openCluster connects to the shared store and takes the node's name in it.
func (c *NetworkController) openCluster(ctx context.Context, cfg *config) error {
	switch {
	case cfg.cluster != nil:
		c.cluster = cfg.cluster
	case cfg.etcd != nil:
		s, err := etcd.New(ctx, *cfg.etcd)
		if err != nil {
			return err
		}
		c.cluster = s
		c.closers = append(c.closers, s.Close)
	default:
		c.cluster = c.local
		return nil
	}
	if err := c.register(ctx); err != nil {
		return err
	}
	return c.peers.start(ctx, c)
}

// openDrivers makes the built-in drivers known that WithDriver does not replace.
func (c *NetworkController) openDrivers(cfg *config) error {
	builtin, err := c.builtinDrivers(cfg)
	if err != nil {
		return err
	}
	for _, d := range builtin {
		if name := d.Info().Name; c.drivers[name] == nil {
			c.drivers[name] = newDriverHost(d)
		}
	}
	return nil
}

// driver finds a driver by the name users write.
func (c *NetworkController) driver(name string) (*driverHost, error) {
	if h := c.drivers[name]; h != nil {
		return h, nil
	}
	if err := c.missingDriver(name); err != nil {
		return nil, err
	}
	known := slices.Sorted(maps.Keys(c.drivers))
	return nil, fmt.Errorf("driver %s is not registered, there are %s: %w", printable(name), strings.Join(known, ", "), ErrUnsupported)
}

// storeOf is where the driver's networks are kept.
func (c *NetworkController) storeOf(h *driverHost) store.Store {
	if h.info.Scope == drivers.ScopeCluster {
		return c.cluster
	}
	return c.local
}

// stores returns each store once, the local one first.
func (c *NetworkController) stores() []store.Store {
	if c.cluster == c.local {
		return []store.Store{c.local}
	}
	return []store.Store{c.local, c.cluster}
}

// enter starts a public method. The controller's Close waits for the returned function.
func (c *NetworkController) enter() (exit func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("controller: %w", ErrClosed)
	}
	c.calls.Add(1)
	return c.calls.Done, nil
}

// Close stops the controller: it waits for the calls in progress, ends its goroutines and releases its stores and
// directories. The data plane keeps running, and a new controller takes it over. A second Close does nothing.
func (c *NetworkController) Close() (err error) {
	defer wrap(&err, "close controller")
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.calls.Wait()
	return c.shutdown()
}

func (c *NetworkController) shutdown() error {
	c.cancel()
	c.tasks.Wait()
	for _, active := range c.state.activeNetworks() {
		if active.members != nil {
			active.members.close()
		}
	}
	var errs []error
	for _, sb := range c.state.allSandboxes() {
		errs = append(errs, sb.closeCgroup(), sb.releaseNS())
	}
	for _, h := range c.drivers {
		errs = append(errs, h.Close())
	}
	for _, closer := range slices.Backward(c.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

func (c *NetworkController) namespaceDir() string { return filepath.Join(c.runDir, "netns") }
func (c *NetworkController) sandboxDir() string   { return filepath.Join(c.runDir, "sandboxes") }
