package link

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// maxDeleting bounds the deletions that wait for RCU in the background, over all Handles. Each occupies an OS thread.
const maxDeleting = 8

var deletions = make(chan struct{}, maxDeleting)

// DeleteLink removes the link called name if it carries alias. One that is absent, or somebody else's, is no error and
// stays as it is: ours is gone either way. A veth takes its other end with it.
func (h *Handle) DeleteLink(ctx context.Context, name, alias string) error {
	return h.use(ctx, func(c *conn) error {
		l, err := c.link(name)
		if errors.Is(err, errdefs.ErrNotFound) || err == nil && !l.carries(alias) || errors.Is(err, errdefs.ErrConflict) {
			return nil
		}
		if err != nil {
			return err
		}
		return h.deleteSoon(ctx, c, l)
	})
}

// deleteSoon returns when the interface is gone for everybody. The kernel takes an interface off its lists in a
// millisecond or two; the request that asked for it returns some 25 ms later, when RCU has let the memory go, and
// nothing here depends on that.
func (h *Handle) deleteSoon(ctx context.Context, c *conn, l Link) error {
	done, err := h.startDelete(l)
	if err != nil {
		return c.delete(l) // closing, or enough of them run: this one is waited for
	}
	for pause := time.Millisecond / 4; ; pause = min(2*pause, 10*time.Millisecond) {
		if gone, err := c.absent(l.Index); gone || err != nil {
			return err
		}
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("delete interface %s: %w", l.Name, ctx.Err())
		case <-time.After(pause):
		}
	}
}

var errBusy = errors.New("too many deletions in the background")

// startDelete deletes l in the background, by a connection that it has from the start so that Close does not stop it.
func (h *Handle) startDelete(l Link) (<-chan error, error) {
	select {
	case deletions <- struct{}{}:
	default:
		return nil, errBusy
	}
	c, err := h.get()
	if err != nil {
		<-deletions
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		<-deletions
		c.close()
		return nil, h.errClosed()
	}
	done := make(chan error, 1)
	h.deleting.Go(func() {
		done <- c.delete(l)
		h.put(c)
		<-deletions
	})
	return done, nil
}

// absent asks by index, which a new interface of the same name does not have.
func (c *conn) absent(index int) (bool, error) {
	_, err := c.askLink(strconv.Itoa(index), index)
	if errors.Is(err, errdefs.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// delete goes by index, which the kernel does not use twice: whatever happened to the name, nothing else is hit.
func (c *conn) delete(l Link) error {
	gone := newChange("delete interface", l.Name, unix.RTM_DELLINK, 0, header(l.Index))
	gone.absentOK = true
	return c.changes.apply(gone)
}
