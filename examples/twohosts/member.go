package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/exec"
	"time"

	"github.com/libcnm/libcnm"
)

// lookInterval is the pause between two looks at who else is in the network.
const lookInterval = 500 * time.Millisecond

// member is this host's container in the network.
type member struct {
	network  *libcnm.Network
	endpoint *libcnm.Endpoint
	sandbox  *libcnm.Sandbox
}

// enter puts a container into the network, and makes the network if this is the first host. Whatever exists already, made
// by another host or by this program before it was killed, is used as it is: ErrExists says so, and only one of two hosts
// that make the same thing at the same time succeeds.
func enter(ctx context.Context, ctrl *libcnm.NetworkController, network, container string) (*member, error) {
	nw, err := ctrl.NewNetwork(ctx, "ovs-vxlan", network)
	if errors.Is(err, libcnm.ErrExists) {
		nw, err = ctrl.NetworkByName(ctx, network)
	}
	if err != nil {
		return nil, err
	}
	ep, err := nw.CreateEndpoint(ctx, container)
	if errors.Is(err, libcnm.ErrExists) {
		ep, err = nw.EndpointByName(ctx, container)
	}
	if err != nil {
		return nil, err
	}
	sb, err := ctrl.NewSandbox(ctx, container)
	if errors.Is(err, libcnm.ErrExists) {
		sb, err = ctrl.SandboxByContainer(container)
	}
	if err != nil {
		return nil, err
	}
	return &member{network: nw, endpoint: ep, sandbox: sb}, ep.Join(ctx, sb)
}

// quit takes the container out. The last host removes the network.
func (m *member) quit(ctx context.Context) error {
	if err := m.sandbox.Delete(ctx); err != nil {
		return err
	}
	if err := m.endpoint.Delete(ctx); err != nil {
		return err
	}
	err := m.network.Delete(ctx)
	if errors.Is(err, libcnm.ErrInUse) || errors.Is(err, libcnm.ErrNotFound) {
		return nil // others are still in it, or one of them was faster
	}
	return err
}

// greet pings every other container once, as they come, until ctx ends.
func (m *member) greet(ctx context.Context) {
	greeted := map[string]bool{} // by endpoint ID, which is never used again
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		eps, err := m.network.Endpoints(ctx)
		if err != nil && ctx.Err() == nil {
			log.Print(err) // etcd is away; what is joined goes on without
		}
		for _, ep := range eps {
			info := ep.Info()
			if ep.ID() == m.endpoint.ID() || info.Node == "" || greeted[ep.ID()] {
				continue
			}
			greeted[ep.ID()] = m.ping(ctx, ep.Name(), info) == nil
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// ping reaches a container at all its addresses, or not yet: it may be just about to join.
func (m *member) ping(ctx context.Context, name string, info libcnm.EndpointInfo) error {
	for _, to := range info.Addresses {
		err := m.sandbox.Command(ctx, "ping", "-c", "1", "-W", "1", to.Addr().String()).Run()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			log.Print(err)
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s reaches %s on %s at %s\n", m.sandbox.ContainerID(), name, info.Node, to.Addr())
	}
	return nil
}
