package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/libcnm/libcnm"
)

// broken returns the replicas that do not run.
func (f *fleet) broken(procs []process) ([]string, error) {
	var list []string
	for i := range f.replicas {
		name := f.replica(i)
		sb, err := f.ctrl.SandboxByContainer(name)
		if err != nil && !errors.Is(err, libcnm.ErrNotFound) {
			return nil, err // before anything is made for a name that cannot be
		}
		if err != nil || len(sb.Endpoints()) == 0 || !f.runs(sb, procs) {
			list = append(list, name)
		}
	}
	return list, nil
}

// runs reports whether a replica has its process: one that this run has started, or any in its namespace.
func (f *fleet) runs(sb *libcnm.Sandbox, procs []process) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.children[sb.ContainerID()] || len(within(sb, procs)) > 0
}

// start brings a replica up, after what is left of the one before it. The endpoint of that is used again if there is one.
func (f *fleet) start(ctx context.Context, nw *libcnm.Network, name string, procs []process) error {
	sb, err := f.ctrl.SandboxByContainer(name)
	if err == nil {
		err = f.stop(ctx, sb, procs)
	}
	if err != nil && !errors.Is(err, libcnm.ErrNotFound) {
		return err
	}
	ep, err := nw.CreateEndpoint(ctx, name)
	if errors.Is(err, libcnm.ErrExists) {
		ep, err = nw.EndpointByName(ctx, name)
	}
	if err != nil {
		return err
	}
	sb, err = f.ctrl.NewSandbox(ctx, name, libcnm.WithSandboxLabels(map[string]string{fleetLabel: f.name}))
	if err != nil {
		return err
	}
	if err := ep.Join(ctx, sb); err != nil {
		return err
	}
	return f.launch(ctx, sb, ep)
}

// launch starts the replica's process.
func (f *fleet) launch(ctx context.Context, sb *libcnm.Sandbox, ep *libcnm.Endpoint) error {
	name := sb.ContainerID()
	// The process outlives this one: neither the context nor a terminal's interrupt ends it.
	cmd := sb.Command(context.WithoutCancel(ctx), f.command[0], f.command[1:]...)
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start replica %s: %w", name, err)
	}
	f.setChild(name, true)
	fmt.Printf("%s runs as process %d at %s\n", name, cmd.Process.Pid, ep.Info().Addresses)
	go func() { // ends with the process, or with this program
		err := cmd.Wait()
		f.setChild(name, false)
		fmt.Printf("%s ended: %v\n", name, err)
	}()
	return nil
}

func (f *fleet) setChild(name string, runs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.children[name] = runs
}

// stop ends whatever runs in a sandbox and removes it. Its endpoint remains, with its addresses.
func (f *fleet) stop(ctx context.Context, sb *libcnm.Sandbox, procs []process) error {
	for _, p := range within(sb, procs) {
		if err := p.kill(sb); err != nil {
			return fmt.Errorf("stop replica %s: %w", sb.ContainerID(), err)
		}
	}
	return sb.Delete(ctx)
}
