package link

import (
	"context"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// maxIdle is how many connections a Handle keeps open while nobody uses them.
const maxIdle = 4

// Handle speaks rtnetlink in one network namespace. It is safe for concurrent use: each call has a connection of its own
// while it runs, so a slow one delays no other. Sockets are opened when first needed.
type Handle struct {
	ns  *NS        // nil: the process's own
	own NSIdentity // of ns

	deleting sync.WaitGroup // deletions whose interface is gone and which still wait for RCU

	mu     sync.Mutex // guards the following
	idle   []*conn
	closed bool
}

// conn is one connection: a library handle for questions, and a socket for changes, several in one system call.
type conn struct {
	*netlink.Handle
	changes *changeSocket
}

// Open prepares a Handle for ns; nil means the process's own namespace. The caller may close ns at once, and closes the
// Handle.
func Open(ns *NS) (*Handle, error) {
	if ns != nil {
		own, err := ns.dup()
		if err != nil {
			return nil, err
		}
		return &Handle{ns: own, own: own.Identity()}, nil
	}
	own, err := HostNS()
	if err == nil {
		err = own.Close()
	}
	if err != nil {
		return nil, err
	}
	sysctlFiles.hold()
	return &Handle{own: own.Identity()}, nil
}

// Close releases the sockets. Calls that run keep theirs until they return; later ones fail with ErrClosed. It waits for
// deletions to end.
func (h *Handle) Close() error {
	h.mu.Lock()
	idle, closed := h.idle, h.closed
	h.idle, h.closed = nil, true
	h.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	h.deleting.Wait()
	switch {
	case closed:
		return nil
	case h.ns == nil:
		return sysctlFiles.release()
	}
	return h.ns.Close()
}

// slots bounds the calls that are in the kernel at once, over all Handles. Each occupies an OS thread, which the Go
// runtime keeps for ever; most wait for the kernel's one rtnl lock, so more would gain nothing.
var slots = make(chan struct{}, 16)

// use runs fn with a connection that is fn's alone. fn must not call use: that could wait for a slot that never comes. Nor may
// who is inside another namespace: a new connection could be one of that.
func (h *Handle) use(ctx context.Context, fn func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("network namespace %s: %w", h.where(), err)
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("network namespace %s: %w", h.where(), ctx.Err())
	}
	defer func() { <-slots }()
	return h.useSlot(fn)
}

// useSlot is use for who holds a slot already.
func (h *Handle) useSlot(fn func(*conn) error) error {
	c, err := h.get()
	if err != nil {
		return err
	}
	err = fn(c)
	h.put(c)
	return err
}

func (h *Handle) put(c *conn) {
	h.mu.Lock()
	keep := !h.closed && len(h.idle) < maxIdle && !c.changes.broken
	if keep {
		h.idle = append(h.idle, c)
	}
	h.mu.Unlock()
	if !keep {
		c.close()
	}
}

func (h *Handle) get() (*conn, error) {
	h.mu.Lock()
	closed := h.closed
	var c *conn
	if last := len(h.idle) - 1; last >= 0 {
		c = h.idle[last]
		h.idle = h.idle[:last]
	}
	h.mu.Unlock()
	if closed {
		return nil, h.errClosed()
	}
	if c != nil {
		return c, nil
	}
	err := h.inside(func() (err error) {
		c, err = dial()
		return err
	})
	return c, err
}

// inside runs fn where /proc/sys/net, ioctls and new sockets mean this Handle's namespace.
func (h *Handle) inside(fn func() error) error {
	h.mu.Lock()
	closed := h.closed
	h.mu.Unlock()
	switch {
	case closed:
		return h.errClosed()
	case h.ns == nil:
		return fn()
	}
	return h.ns.Do(fn)
}

func (h *Handle) errClosed() error {
	return fmt.Errorf("network namespace %s: %w", h.where(), errdefs.ErrClosed)
}

func (h *Handle) where() string {
	if h.ns == nil {
		return "of this process"
	}
	return h.ns.file.Name()
}

func dial() (*conn, error) {
	questions, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, opError("open", "netlink socket", err)
	}
	changes, err := openChangeSocket()
	if err != nil {
		questions.Close()
		return nil, err
	}
	return &conn{Handle: questions, changes: changes}, nil
}

func (c *conn) close() {
	c.Handle.Close()
	c.changes.close()
}
