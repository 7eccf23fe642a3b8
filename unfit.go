package libcnm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libcnm/libcnm/drivers"
)

// mendRetry is the pause between attempts at what New could not do.
const mendRetry = time.Second

// unfit says why the driver cannot be used; nil: it can.
func (s *hostState) unfit(h *driverHost) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.notFit
}

// fits reports whether the driver can work.
func (s *hostState) fits(h *driverHost) bool { return s.unfit(h) == nil }

func (s *hostState) setUnfit(h *driverHost, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.notFit = why
}

// refuseUnfit is for calls that need the driver.
func (c *NetworkController) refuseUnfit(h *driverHost) error {
	if why := c.state.unfit(h); why != nil {
		return fmt.Errorf("driver %s could not be brought in order when the controller started, nor since: %w: %w",
			h.info.Name, why, ErrUnavailable)
	}
	return nil
}

// unfitDrivers returns why drivers cannot be used, by their names.
func (c *NetworkController) unfitDrivers() map[string]string {
	var byName map[string]string
	for name, h := range c.drivers {
		if why := c.state.unfit(h); why != nil {
			if byName == nil {
				byName = make(map[string]string)
			}
			byName[name] = why.Error()
		}
	}
	return byName
}

// postpone notes an endpoint whose interface New could not make.
func (s *hostState) postpone(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.postponed[a.id] = a
}

func (s *hostState) postponedEndpoints() []*attachment {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*attachment, 0, len(s.postponed))
	for _, a := range s.postponed {
		list = append(list, a)
	}
	return list
}

func (s *hostState) isPostponed(id drivers.EndpointID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.postponed[id] != nil
}

// mended forgets an endpoint that was postponed.
func (s *hostState) mended(a *attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postponed[a.id] == a {
		delete(s.postponed, a.id)
	}
}

// unmended reports whether New has left something to be done.
func (c *NetworkController) unmended() bool {
	return len(c.unfitDrivers()) > 0 || len(c.state.postponedEndpoints()) > 0
}

// mend tries again what New could not do: to bring drivers in order, and to make the interfaces of endpoints.
func (c *NetworkController) mend(ctx context.Context) error {
	var errs []error
	for _, h := range c.activeDrivers() {
		if c.state.fits(h) {
			continue
		}
		if _, err := c.repairDriver(ctx, h, cause{kind: CauseUnfit}); err != nil {
			errs = append(errs, fmt.Errorf("driver %s: %w", h.info.Name, err))
		}
	}
	for _, a := range c.state.postponedEndpoints() {
		if !c.state.fits(a.network.host) {
			continue
		}
		if err := c.reattach(ctx, a.network, a); err != nil {
			errs = append(errs, fmt.Errorf("endpoint %s: %w", a.id, err))
			continue
		}
		c.state.mended(a)
	}
	return errors.Join(errs...)
}

// unfitDrifts names what New could not do yet.
func (c *NetworkController) unfitDrifts() []Drift {
	var list []Drift
	for _, a := range c.state.postponedEndpoints() {
		_, seen := c.state.attached(a.id)
		if seen.ep == nil {
			continue
		}
		list = append(list, Drift{
			Driver: a.network.rec.Driver, Network: a.network.rec.ID, Endpoint: a.id,
			Object: "interface " + seen.ep.Join.Interface + " of container " + a.sandbox.rec.ContainerID, Want: "present",
		})
	}
	return list
}
