package libcnm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// releaseWidth is how many records of endpoints Release reads at once: the work is waiting for the store.
const releaseWidth = 16

// Release deletes every endpoint of the cluster's networks that is joined on a node which will not come back, and so frees
// their names and addresses. It is refused with ErrInUse while the node's lease lives, with ErrNotFound for a node that
// has neither a lease nor endpoints, and with ErrInvalid for this one. Endpoints that the node made and that are joined
// nowhere, or on another node, remain, and so do networks.
//
// Each endpoint goes whole or not at all. If Release fails, some may be gone already, and repeating it frees the rest: so
// too if the node returns meanwhile (ErrInUse), or when several controllers release it at once. An endpoint whose record
// this version of libcnm cannot read is left, and named by the error.
//
// A node that returns later takes the endpoints that were released out of its sandboxes; the sandboxes stay.
func (c *NetworkController) Release(ctx context.Context, node string) (err error) {
	defer wrap(&err, "release node", node)
	exit, err := c.enter()
	if err != nil {
		return err
	}
	defer exit()
	if err := checkName("node name", node); err != nil {
		return err
	}
	if node == c.node.Name {
		return fmt.Errorf("it is this node, its endpoints can leave: %w", ErrInvalid)
	}
	freed, err := c.release(ctx, node)
	if freed > 0 {
		c.log.Info("endpoints of a dead node are released", "node", node, "endpoints", freed)
	}
	return err
}

func (c *NetworkController) release(ctx context.Context, node string) (freed int, err error) {
	refused := make(map[string]error) // by the key of the member
	for first := true; ; first = false {
		if err := c.refuseAlive(ctx, node); err != nil {
			return freed, err
		}
		members, _, err := c.cluster.List(ctx, dirMembers(node))
		if err != nil {
			return freed, err
		}
		if first && len(members) == 0 {
			return 0, fmt.Errorf("no node of that name is alive or has endpoints: %w", ErrNotFound)
		}
		members = slices.DeleteFunc(members, func(m store.Record) bool { return refused[m.Key] != nil })
		plans, err := c.planRelease(ctx, node, members, refused)
		if err != nil {
			return freed, err
		}
		if len(plans) == 0 {
			return freed, joined(refused)
		}
		n, err := c.commitRelease(ctx, node, plans)
		freed += n
		// After a conflict the node is back, or others have changed its endpoints: look again.
		if err != nil && !errors.Is(err, ErrConflict) {
			return freed, fmt.Errorf("%d of its endpoints are freed: %w", freed, err)
		}
	}
}

// refuseAlive refuses a node whose lease lives.
func (c *NetworkController) refuseAlive(ctx context.Context, node string) error {
	_, err := c.cluster.Get(ctx, keyNodeRecord(node))
	switch {
	case err == nil:
		return fmt.Errorf("its lease lives: %w", ErrInUse)
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// releasePlan is what frees one endpoint.
type releasePlan struct {
	batch
	ep *endpointRecord // nil: an index entry without its endpoint
}

// planRelease reads the endpoints. Those that cannot be freed are added to refused.
func (c *NetworkController) planRelease(ctx context.Context, node string, members []store.Record, refused map[string]error) ([]releasePlan, error) {
	plans := make([]releasePlan, len(members))
	errs := make([]error, len(members))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(releaseWidth)
	for i, member := range members {
		group.Go(func() error {
			plans[i], errs[i] = c.planMember(groupCtx, node, member)
			if errors.Is(errs[i], ErrInvalid) || errors.Is(errs[i], ErrUnsupported) {
				return nil
			}
			return errs[i]
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var able []releasePlan
	for i, member := range members {
		if errs[i] != nil {
			refused[member.Key] = errs[i]
		} else {
			able = append(able, plans[i])
		}
	}
	return able, nil
}

// planMember is ErrInvalid or ErrUnsupported for an endpoint whose record must not be touched.
func (c *NetworkController) planMember(ctx context.Context, node string, member store.Record) (p releasePlan, err error) {
	network, ok := memberNetwork(member.Key)
	if !ok {
		return p, badRecord(member.Key, errors.New("the key names no endpoint"))
	}
	key := keyEndpoint(network, drivers.EndpointID(path.Base(member.Key)))
	raw, err := c.cluster.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		p.guard(store.Absent(key))
		p.op(store.Delete(member.Key))
		return p, nil
	}
	if err != nil {
		return p, err
	}
	s, err := decode[endpointRecord](raw)
	if err != nil {
		return p, err
	}
	if j := s.value.Join; j == nil || j.Node != node {
		p.guard(store.Unchanged(raw))
		p.op(store.Delete(member.Key))
		return p, nil
	}
	p.ep = &s.value
	p.deleteEndpoint(s)
	return p, p.err
}

// commitRelease commits the plans, as many at once as the store takes, and returns how many endpoints are freed.
func (c *NetworkController) commitRelease(ctx context.Context, node string, plans []releasePlan) (freed int, err error) {
	for len(plans) > 0 {
		var b batch
		b.guard(store.Absent(keyNodeRecord(node)))
		var eps []*endpointRecord
		n := 0
		for n < len(plans) && b.join(&plans[n].batch) {
			if ep := plans[n].ep; ep != nil {
				eps = append(eps, ep)
			}
			n++
		}
		rev, err := c.cluster.Commit(ctx, b.guards, b.ops...)
		if err != nil {
			return freed, err
		}
		freed += len(eps)
		for _, ep := range eps {
			if alloc := c.allocs.known(ep.Network); alloc != nil {
				if err := alloc.freed(ep.addresses(), nil, rev); err != nil {
					return freed, err
				}
			}
		}
		plans = plans[n:]
	}
	return freed, nil
}

// join adds another commit's guards and operations, if all fit into one.
func (b *batch) join(other *batch) bool {
	if len(b.guards)+len(other.guards) > store.MaxOps || len(b.ops)+len(other.ops) > store.MaxOps {
		return false
	}
	b.guards, b.ops = append(b.guards, other.guards...), append(b.ops, other.ops...)
	return true
}

// joined returns the errors in the order of their keys.
func joined(byKey map[string]error) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		errs = append(errs, byKey[key])
	}
	return errors.Join(errs...)
}
