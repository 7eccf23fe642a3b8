package libcnm

import (
	"context"
	"errors"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// doubt notes that a commit about the endpoint ended without an answer: it may have happened, or happen yet. The next
// call about the endpoint finds out before it does anything else, and so does the controller by itself.
func (c *NetworkController) doubt(e *Endpoint) {
	c.state.mu.Lock()
	c.state.doubts[e.id] = e
	c.state.mu.Unlock()
	signal(c.doubted)
}

// doubted reports whether the endpoint's record may differ from what this host makes of it.
func (s *hostState) doubted(id drivers.EndpointID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubts[id] != nil
}

func (s *hostState) doubtedEndpoints() []*Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Endpoint, 0, len(s.doubts))
	for _, e := range s.doubts {
		list = append(list, e)
	}
	return list
}

// settle makes the endpoint's record and this host agree again. It is for the holder of the endpoint's turn. One that is
// not joined here gives up what the store may say of a join; one that is joined leaves if the store says that it did.
func (c *NetworkController) settle(ctx context.Context, e *Endpoint) error {
	if !c.state.doubted(e.id) {
		return nil
	}
	a, seen := c.state.attached(e.id)
	if a == nil {
		if err := c.disown(ctx, e); err != nil {
			return err
		}
	} else {
		stands, err := c.stands(ctx, e, &seen)
		if err == nil && !stands {
			err = c.detach(ctx, e.network, a)
		}
		if err != nil {
			return err
		}
	}
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	delete(c.state.doubts, e.id)
	return nil
}

// disown commits that the endpoint is in no sandbox of this node, also when the record says so already: a join that is
// still on its way to the store then finds another revision than the one it is guarded by.
func (c *NetworkController) disown(ctx context.Context, e *Endpoint) error {
	for {
		s, err := e.refresh(ctx)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if j := s.value.Join; j != nil && j.Node != c.node.Name {
			return nil
		}
		if err := c.commitLeave(ctx, e, s); !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// stands reports whether the store says what this host knows of the endpoint's join.
func (c *NetworkController) stands(ctx context.Context, e *Endpoint, a *attachment) (bool, error) {
	// Asked by a commit and not by a read: it comes after one that is being written.
	key := keyEndpoint(e.network.rec.ID, e.id)
	_, err := e.network.store().Commit(ctx, []store.Guard{{Key: key, Rev: a.rev}})
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// settleDoubts settles what is in doubt as soon as the store answers, until the controller closes.
func (c *NetworkController) settleDoubts() {
	ctx := c.background
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.doubted:
		}
		for _, e := range c.state.doubtedEndpoints() {
			if err := c.settleInTurn(ctx, e); err != nil && ctx.Err() == nil {
				c.log.Warn("outcome of a commit is still unknown, will be tried again", "network", e.network.rec.Name, "endpoint", e.name, "error", err)
				pause(ctx, followRetry)
				signal(c.doubted)
				break // the store is away: it would be for the others too
			}
		}
	}
}

func (c *NetworkController) settleInTurn(ctx context.Context, e *Endpoint) error {
	release, err := c.queue.Lock(ctx, endpointTurn(e.id))
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, undoTimeout)
	defer cancel()
	return c.settle(ctx, e)
}
