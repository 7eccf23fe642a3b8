// Command customdriver uses libcnm with a driver that does not come with it, package lan: it puts a container straight into
// the segment behind an interface of this host, and pings a machine there. Run it as root, with an interface that carries
// no address of the host, and with addresses of that segment:
//
//	go run ./examples/customdriver -uplink eth1 -address 192.168.7.20/24 -ping 192.168.7.1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/examples/customdriver/lan"
)

// name is that of the network, the endpoint and the container.
const name = "customdriver"

func main() {
	log.SetFlags(0)
	var uplink string
	var addresses []netip.Prefix
	var targets []netip.Addr
	flag.StringVar(&uplink, "uplink", "", "`interface` into the segment")
	flag.Func("address", "container's `address/length` in the segment; may be repeated", func(s string) error {
		p, err := netip.ParsePrefix(s)
		addresses = append(addresses, p)
		return err
	})
	flag.Func("ping", "`address` to ping from the container; may be repeated", func(s string) error {
		a, err := netip.ParseAddr(s)
		targets = append(targets, a)
		return err
	})
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, uplink, addresses, targets)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, uplink string, addresses []netip.Prefix, targets []netip.Addr) (err error) {
	ctrl, err := libcnm.New(ctx, libcnm.WithDriver(lan.New()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ctrl.Close()) }()
	if err := remove(ctx, ctrl); err != nil { // what an earlier run that was killed has left
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, remove(ctx, ctrl))
	}()

	// The driver's own options travel through libcnm as they are: a network remembers them.
	networkOptions := []libcnm.NetworkOption{libcnm.WithDriverOptions(lan.Options{Uplink: uplink})}
	var addrs []netip.Addr
	for _, a := range addresses {
		networkOptions = append(networkOptions, libcnm.WithSubnet(a.Masked()))
		addrs = append(addrs, a.Addr())
	}
	nw, err := ctrl.NewNetwork(ctx, "lan", name, networkOptions...)
	if err != nil {
		return err
	}
	ep, err := nw.CreateEndpoint(ctx, name, libcnm.WithIP(addrs...))
	if err != nil {
		return err
	}
	sb, err := ctrl.NewSandbox(ctx, name)
	if err != nil {
		return err
	}
	if err := ep.Join(ctx, sb); err != nil {
		return err
	}
	fmt.Printf("%s is in the segment as %s, %s\n", sb.ContainerID(), addrs, ep.Info().MAC)
	for _, to := range targets {
		out, err := sb.Command(ctx, "ping", "-c", "1", "-W", "2", to.String()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ping %s: %w\n%s", to, err, out)
		}
		fmt.Printf("%s reaches %s\n", sb.ContainerID(), to)
	}
	return nil
}

// remove takes down whatever there is of what run makes.
func remove(ctx context.Context, ctrl *libcnm.NetworkController) error {
	sb, err := ctrl.SandboxByContainer(name)
	if err == nil {
		err = sb.Delete(ctx)
	}
	if err != nil && !errors.Is(err, libcnm.ErrNotFound) {
		return err
	}
	nw, err := ctrl.NetworkByName(ctx, name)
	if errors.Is(err, libcnm.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ep, err := nw.EndpointByName(ctx, name)
	if err == nil {
		err = ep.Delete(ctx)
	}
	if err != nil && !errors.Is(err, libcnm.ErrNotFound) {
		return err
	}
	return nw.Delete(ctx)
}
