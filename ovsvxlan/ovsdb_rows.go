package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// bridgeKey is the runner's key for the bridge itself; the others are names of ports.
const bridgeKey = ""

// rows keeps the database equal to what is wanted. Its pass belongs to one runner and is never run twice at once.
type rows struct {
	db     *database
	bridge string
	want   func(keys []string) wantRows // of the rows named, or of all

	mu       sync.Mutex     // guards expected
	expected map[string]int // ports we are removing although they are wanted, by name

	commits atomic.Uint64
}

// expect announces the removal of a wanted port, which must not look like somebody else's doing.
func (r *rows) expect(name string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expected[name] += n; r.expected[name] <= 0 {
		delete(r.expected, name)
	}
}

// wasExpected consumes an announcement.
func (r *rows) wasExpected(name string) bool {
	r.mu.Lock()
	known := r.expected[name] > 0
	r.mu.Unlock()
	if known {
		r.expect(name, -1)
	}
	return known
}

// pass makes the rows named by keys right and waits until ovs-vswitchd has opened every port.
func (r *rows) pass(ctx context.Context, keys []string) map[string]error {
	want := r.want(keys)
	have, err := r.read(ctx, keys)
	if err != nil {
		return failAll(keys, err)
	}
	if want.bridge == nil {
		return failAll(keys, r.removeAll(ctx, have))
	}
	if have.bridge == nil { // its ports are gone with it
		if want = r.want(nil); want.bridge == nil {
			return failAll(keys, nil)
		}
		keys = slices.Compact(slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(want.ports)), append(keys, bridgeKey)...))))
		if have, err = r.read(ctx, keys); err != nil {
			return failAll(keys, err)
		}
	}
	p, errs := planKeys(have, want, keys)
	for name, plan := range p {
		if len(plan.first) > 0 {
			r.expect(name, 1)
		}
	}
	r.commit(ctx, have.root, p, errs)
	r.verify(ctx, have.root, want, keys, p, errs)
	return errs
}

func (r *rows) read(ctx context.Context, keys []string) (haveRows, error) {
	c, _, err := r.db.session()
	if err != nil {
		return haveRows{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	root, err := readRoot(ctx, c)
	if err != nil {
		return haveRows{}, err
	}
	have := haveRows{root: root.UUID, ports: map[string]*portRow{}, interfaces: map[string]*interfaceRow{}}
	if have.bridge, err = readBridge(ctx, c, r.bridge); err != nil {
		return haveRows{}, err
	}
	for _, name := range keys {
		if name == bridgeKey {
			continue
		}
		if have.ports[name], err = readPort(ctx, c, name); err != nil {
			return haveRows{}, err
		}
		if have.interfaces[name], err = readInterface(ctx, c, name); err != nil {
			return haveRows{}, err
		}
	}
	return have, nil
}

func (r *rows) removeAll(ctx context.Context, have haveRows) error {
	if have.bridge == nil || !ours(have.bridge.ExternalIDs) {
		return nil
	}
	r.commits.Add(1)
	cfg, err := r.db.transact(ctx, have.root, removeBridge(have.root, have.bridge)...)
	if err != nil {
		return fmt.Errorf("remove bridge %s: %w", r.bridge, err)
	}
	if err := r.db.awaitApplied(ctx, cfg, len(have.bridge.Ports)); err != nil {
		return fmt.Errorf("remove bridge %s: %w", r.bridge, err)
	}
	return nil
}

// planKeys plans every key; a key that cannot be planned is in the errors instead.
func planKeys(have haveRows, want wantRows, keys []string) (map[string]portPlan, map[string]error) {
	plans, errs := map[string]portPlan{}, map[string]error{}
	if have.bridge != nil && !ours(have.bridge.ExternalIDs) {
		return plans, failAll(keys, foreign("bridge", want.bridge.name))
	}
	for i, key := range keys {
		var (
			p   portPlan
			err error
		)
		if key == bridgeKey {
			p.ops, p.diffs, err = planBridge(have, *want.bridge)
		} else {
			var wanted *wantPort
			if w, ok := want.ports[key]; ok {
				wanted = &w
			}
			p, err = planPort(have, want.bridge.name, key, wanted, i)
		}
		if err != nil {
			errs[key] = err
			continue
		}
		plans[key] = p
	}
	return plans, errs
}

// commit carries the plans out, as one transaction if the server accepts it, and adds to errs.
func (r *rows) commit(ctx context.Context, root string, plans map[string]portPlan, errs map[string]error) {
	for _, phase := range []func(portPlan) []ovsdb.Operation{
		func(p portPlan) []ovsdb.Operation { return p.first },
		func(p portPlan) []ovsdb.Operation { return p.ops },
	} {
		var keys []string // sorted, so that the bridge comes before what is put on it
		for _, key := range slices.Sorted(maps.Keys(plans)) {
			if errs[key] == nil && len(phase(plans[key])) > 0 {
				keys = append(keys, key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		var last int
		maps.Copy(errs, bisect(keys, func(keys []string) error {
			var ops []ovsdb.Operation
			for _, key := range keys {
				ops = append(ops, phase(plans[key])...)
			}
			r.commits.Add(1)
			cfg, err := r.db.transact(ctx, root, ops...)
			last = max(last, cfg)
			return err
		}, isRefused))
		if err := r.db.awaitApplied(ctx, last, len(keys)); err != nil {
			for _, key := range keys {
				errs[key] = errors.Join(errs[key], err)
			}
		}
	}
}

func isRefused(err error) bool { return errors.Is(err, errRefused) }

// verify adds an error for each wanted port that ovs-vswitchd could not open, and for a bridge without a datapath.
func (r *rows) verify(ctx context.Context, root string, want wantRows, keys []string, plans map[string]portPlan, errs map[string]error) {
	bad := r.faults(ctx, want, keys, errs)
	if len(bad) == 0 {
		return
	}
	changed := slices.ContainsFunc(keys, func(k string) bool { return len(plans[k].ops) > 0 })
	if !changed {
		// Nothing was committed, so nothing was waited for: the daemon may just be busy starting.
		cfg, err := r.db.transact(ctx, root)
		if err == nil {
			err = r.db.awaitApplied(ctx, cfg, 0)
		}
		if err != nil {
			maps.Copy(errs, failAll(slices.Collect(maps.Keys(bad)), err))
			return
		}
		bad = r.faults(ctx, want, keys, errs)
	}
	maps.Copy(errs, bad)
	var remove []ovsdb.Operation
	for _, key := range slices.Sorted(maps.Keys(bad)) {
		if key == bridgeKey {
			continue
		}
		// A row that stays behind is tried again by ovs-vswitchd at each change of any other.
		if have, err := r.read(ctx, []string{key}); err == nil && have.ports[key] != nil {
			remove = append(remove, removePort(r.bridge, have.ports[key])...)
			r.expect(key, 1)
		}
	}
	if len(remove) == 0 {
		return
	}
	if _, err := r.db.transact(ctx, root, remove...); err != nil {
		for key := range bad {
			errs[key] = errors.Join(errs[key], fmt.Errorf("remove it again: %w", err))
		}
	}
}

// faults returns what ovs-vswitchd says about the wanted keys that have no error yet.
func (r *rows) faults(ctx context.Context, want wantRows, keys []string, errs map[string]error) map[string]error {
	bad := map[string]error{}
	c, _, err := r.db.session()
	for _, key := range keys {
		w, wanted := want.ports[key]
		if errs[key] != nil || key != bridgeKey && !wanted {
			continue
		}
		fault := err
		switch {
		case fault != nil:
		case key == bridgeKey:
			fault = bridgeFault(ctx, c, *want.bridge)
		default:
			fault = portFault(ctx, c, key, w.number)
		}
		if fault != nil {
			bad[key] = fault
		}
	}
	return bad
}

func bridgeFault(ctx context.Context, c client.Client, want wantBridge) error {
	b, err := readBridge(ctx, c, want.name)
	switch {
	case err != nil:
		return err
	case b == nil:
		return fmt.Errorf("bridge %s: gone: %w", want.name, errdefs.ErrNotFound)
	case deref(b.DatapathID) == "":
		return fmt.Errorf("bridge %s: ovs-vswitchd cannot open datapath type %s: %w", want.name, want.datapath, errdefs.ErrUnsupported)
	}
	return nil
}

func portFault(ctx context.Context, c client.Client, name string, number uint32) error {
	i, err := readInterface(ctx, c, name)
	switch {
	case err != nil:
		return err
	case i == nil:
		return fmt.Errorf("port %s: gone: %w", name, errdefs.ErrNotFound)
	case i.OFPort == nil || *i.OFPort < 0:
		return fmt.Errorf("port %s: ovs-vswitchd cannot open it: %s: %w", name, deref(i.Error), errdefs.ErrUnavailable)
	case *i.OFPort != int(number):
		return fmt.Errorf("port %s: number %d is taken, OVS gave %d: %w", name, number, *i.OFPort, errdefs.ErrConflict)
	}
	return nil
}
