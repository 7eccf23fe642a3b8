// Command singlehost puts two containers of one host into a network, lets one ping the other over IPv4 and IPv6, and takes
// everything down again. Run it as root:
//
//	go run ./examples/singlehost
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/libcnm/libcnm"
)

const network = "singlehost"

var containers = []string{"singlehost-ping", "singlehost-pong"}

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	ctrl, err := libcnm.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ctrl.Close()) }()

	// What an earlier run has made is still there if that was killed: Close, too, would have kept it.
	if err := remove(ctx, ctrl); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, remove(ctx, ctrl))
	}()

	nw, err := ctrl.NewNetwork(ctx, "bridge", network)
	if err != nil {
		return err
	}
	ping, _, err := attach(ctx, ctrl, nw, containers[0])
	if err != nil {
		return err
	}
	_, pong, err := attach(ctx, ctrl, nw, containers[1])
	if err != nil {
		return err
	}

	for _, to := range pong.Info().Addresses {
		out, err := ping.Command(ctx, "ping", "-c", "1", "-W", "2", to.Addr().String()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ping %s: %w\n%s", to.Addr(), err, out)
		}
		fmt.Printf("%s reaches %s at %s\n", ping.ContainerID(), pong.Name(), to.Addr())
	}
	return nil
}

// attach makes a container's network stack and puts it into the network.
func attach(ctx context.Context, ctrl *libcnm.NetworkController, nw *libcnm.Network, container string) (*libcnm.Sandbox, *libcnm.Endpoint, error) {
	ep, err := nw.CreateEndpoint(ctx, container)
	if err != nil {
		return nil, nil, err
	}
	sb, err := ctrl.NewSandbox(ctx, container)
	if err != nil {
		return nil, nil, err
	}
	return sb, ep, ep.Join(ctx, sb)
}

// remove takes down whatever there is of what run makes.
func remove(ctx context.Context, ctrl *libcnm.NetworkController) error {
	for _, container := range containers {
		sb, err := ctrl.SandboxByContainer(container)
		if errors.Is(err, libcnm.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := sb.Delete(ctx); err != nil {
			return err
		}
	}
	nw, err := ctrl.NetworkByName(ctx, network)
	if errors.Is(err, libcnm.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	eps, err := nw.Endpoints(ctx)
	if err != nil {
		return err
	}
	for _, ep := range eps {
		if err := ep.Delete(ctx); err != nil {
			return err
		}
	}
	return nw.Delete(ctx)
}
