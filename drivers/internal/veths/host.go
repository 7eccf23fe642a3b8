package veths

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// Host is this host as one driver sees it: all links, and a mark on its own.
type Host struct {
	*link.Handle
	driver string
}

// Open prepares a Host for a driver. The caller closes it.
func Open(driver string) (Host, error) {
	handle, err := link.Open(nil)
	if err != nil {
		return Host{}, fmt.Errorf("driver %s: %w", driver, err)
	}
	return Host{Handle: handle, driver: driver}, nil
}

// Name is the host's end of an endpoint's pair.
func Name(n drivers.NetworkID, ep drivers.EndpointID) string {
	return link.HashName("cnmv", 11, string(n), string(ep))
}

// MAC is a locally administered unicast address for a network's device in some role, the same on every host and for ever.
func MAC(role string, id drivers.NetworkID) drivers.MAC {
	sum := sha256.Sum256([]byte(role + " " + string(id)))
	mac := drivers.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// EndpointMark is the alias of an endpoint's link.
func (h Host) EndpointMark(n drivers.NetworkID, ep drivers.EndpointID) string {
	return link.Owner{Driver: h.driver, Network: string(n), Endpoint: string(ep)}.String()
}

// NetworkMark is the alias of a network's link.
func (h Host) NetworkMark(id drivers.NetworkID) string {
	return link.Owner{Driver: h.driver, Network: string(id)}.String()
}

// NodeMark is the alias of a link that all networks of the driver share.
func (h Host) NodeMark(role string) string { return link.Owner{Driver: h.driver, Role: role}.String() }

// Links returns the driver's links.
func (h Host) Links(ctx context.Context) ([]link.Link, error) {
	return h.Owned(ctx, link.DriverMark(h.driver))
}

// Delete deletes links that Links returned.
func (h Host) Delete(ctx context.Context, links []link.Link) error {
	return Each(links, func(l link.Link) error {
		mark := l.Alias
		if mark == "" {
			mark = link.DriverMark(h.driver) // it did not get as far as an alias
		}
		return h.DeleteLink(ctx, l.Name, mark)
	})
}

// strays are those links that are not wanted, or are not what is wanted by their name.
func strays(all []link.Link, wanted map[string]string) []link.Link {
	return slices.DeleteFunc(all, func(l link.Link) bool {
		alias, ok := wanted[l.Name]
		return ok && (l.Alias == "" || l.Alias == alias)
	})
}

// DeleteStrays deletes the driver's links but those wanted, which are aliases by name.
func (h Host) DeleteStrays(ctx context.Context, wanted map[string]string) error {
	all, err := h.Links(ctx)
	if err != nil {
		return err
	}
	return h.Delete(ctx, strays(all, wanted))
}

// List returns the driver's links for a look at all of them, which may lack some where links come and go all the time.
func (h Host) List(ctx context.Context) ([]link.Link, error) {
	list, err := h.OwnedSoon(ctx, link.DriverMark(h.driver))
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", h.driver, err)
	}
	return list, nil
}

// Strays names what DeleteStrays would delete of those listed.
func (h Host) Strays(listed []link.Link, wanted map[string]string) []drivers.Drift {
	var drift []drivers.Drift
	for _, l := range strays(slices.Clone(listed), wanted) {
		o, _ := link.ParseOwner(l.Alias) // without an alias the drift is of no network
		drift = append(drift, drivers.Drift{
			Driver: h.driver, Network: drivers.NetworkID(o.Network), Endpoint: drivers.EndpointID(o.Endpoint),
			Object: "link " + l.Name, Have: fmt.Sprintf("%s with alias %q", l.Kind, l.Alias),
		})
	}
	return drift
}
