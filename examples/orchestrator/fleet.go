package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/libcnm/libcnm"
)

// fleetLabel marks the sandboxes of a fleet among all of this host.
const fleetLabel = "fleet"

// fleet is what should be there: replicas called name-0, name-1, ...; each is a sandbox and an endpoint of that name, and
// a process.
type fleet struct {
	ctrl        *libcnm.NetworkController
	name        string
	networkName string
	driver      string
	subnets     []libcnm.NetworkOption
	replicas    int
	command     []string

	pruned bool // of what an earlier run wanted and this does not

	mu       sync.Mutex      // guards children
	children map[string]bool // replicas whose process this one has started and not seen ending
}

func (f *fleet) replica(i int) string { return f.name + "-" + strconv.Itoa(i) }

// wanted reports whether an endpoint or sandbox is of this fleet, and whether it should be there.
func (f *fleet) wanted(name string) (mine, wanted bool) {
	number, ok := strings.CutPrefix(name, f.name+"-")
	i, err := strconv.Atoi(number)
	if !ok || err != nil || i < 0 || name != f.replica(i) {
		return false, false
	}
	return true, i < f.replicas
}

// mine returns the fleet's sandboxes, those of earlier runs too.
func (f *fleet) mine() []*libcnm.Sandbox {
	var list []*libcnm.Sandbox
	for _, sb := range f.ctrl.Sandboxes() {
		if sb.Labels()[fleetLabel] == f.name {
			list = append(list, sb)
		}
	}
	return list
}

// reconcile makes what is there equal to what should be there, as far as it can: a replica that fails does not keep the
// others from running.
func (f *fleet) reconcile(ctx context.Context) error {
	procs, err := processes()
	if err != nil {
		return err
	}
	var errs []error
	for _, sb := range f.mine() {
		if _, wanted := f.wanted(sb.ContainerID()); !wanted {
			errs = append(errs, f.stop(ctx, sb, procs))
		}
	}
	broken, err := f.broken(procs)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if f.pruned && len(broken) == 0 {
		return errors.Join(errs...) // no need to ask the store, which may be away
	}
	nw, err := f.network(ctx)
	if err != nil || nw == nil {
		return errors.Join(append(errs, err)...)
	}
	if !f.pruned {
		err := f.prune(ctx, nw)
		errs, f.pruned = append(errs, err), err == nil
	}
	// Each replica by itself: they come up side by side.
	started := make([]error, len(broken))
	var wg sync.WaitGroup
	for i, name := range broken {
		wg.Go(func() { started[i] = f.start(ctx, nw, name, procs) })
	}
	wg.Wait()
	return errors.Join(append(errs, started...)...)
}

// network looks the network up, and makes it if there is none. Nil: there is none, and none is wanted.
func (f *fleet) network(ctx context.Context) (*libcnm.Network, error) {
	nw, err := f.ctrl.NetworkByName(ctx, f.networkName)
	if !errors.Is(err, libcnm.ErrNotFound) {
		return nw, err
	}
	if f.replicas == 0 {
		return nil, nil
	}
	return f.ctrl.NewNetwork(ctx, f.driver, f.networkName, f.subnets...)
}

// prune removes endpoints that no replica needs any more, and at last the network, unless others are in it.
func (f *fleet) prune(ctx context.Context, nw *libcnm.Network) error {
	eps, err := nw.Endpoints(ctx)
	if err != nil {
		return err
	}
	for _, ep := range eps {
		mine, wanted := f.wanted(ep.Name())
		if !mine || wanted {
			continue
		}
		if err := ep.Delete(ctx); err != nil {
			return err
		}
		fmt.Printf("%s gave up %s\n", ep.Name(), ep.Info().Addresses)
	}
	if f.replicas > 0 {
		return nil
	}
	if err := nw.Delete(ctx); err != nil && !errors.Is(err, libcnm.ErrInUse) {
		return err
	}
	return nil
}
