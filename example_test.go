package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/libcnm/libcnm"
)

// The whole chain: two containers in one network, and one pings the other.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	ctrl, err := libcnm.New(ctx,
		libcnm.WithDataDir(filepath.Join(dir, "data")), // without these two: /var/lib/libcnm
		libcnm.WithRunDir(filepath.Join(dir, "run")))   // and /run/libcnm
	if err != nil {
		panic(err)
	}
	defer end(ctrl, dir)

	nw, err := ctrl.NewNetwork(ctx, "bridge", "network1")
	if err != nil {
		panic(err)
	}
	for _, container := range []string{"container1", "container2"} {
		ep, err := nw.CreateEndpoint(ctx, container)
		if err != nil {
			panic(err)
		}
		sb, err := ctrl.NewSandbox(ctx, container)
		if err != nil {
			panic(err)
		}
		if err := ep.Join(ctx, sb); err != nil {
			panic(err)
		}
	}

	from, err := ctrl.SandboxByContainer("container1")
	if err != nil {
		panic(err)
	}
	to, err := nw.EndpointByName(ctx, "container2")
	if err != nil {
		panic(err)
	}
	for _, p := range to.Info().Addresses {
		if err := from.Command(ctx, "ping", "-c", "1", p.Addr().String()).Run(); err != nil {
			panic(err)
		}
		fmt.Println("reached container2 over IPv6:", p.Addr().Is6())
	}
	// Output:
	// reached container2 over IPv6: false
	// reached container2 over IPv6: true
}

// Errors have a class that says what to do next, and a text that says what was attempted on what.
func Example_errors() {
	ctx, ctrl, end := begin()
	defer end()

	nw, err := ctrl.NewNetwork(ctx, "bridge", "web")
	if errors.Is(err, libcnm.ErrExists) {
		nw, err = ctrl.NetworkByName(ctx, "web") // made by an earlier run, or by another node
	}
	if err != nil {
		panic(err)
	}
	_, err = nw.CreateEndpoint(ctx, "a;b")
	fmt.Println(errors.Is(err, libcnm.ErrInvalid))
	fmt.Println(err)
	if e := new(libcnm.Error); errors.As(err, &e) {
		fmt.Println(e.Op)
	}
	// Output:
	// true
	// create endpoint a;b: endpoint name a;b: character 2 is not allowed, names are letters, digits and _.- starting with a letter or digit: invalid argument
	// create endpoint
}

// begin stands for libcnm.New in the examples that are about something else: a controller whose directories, networks and
// sandboxes go when the example ends.
func begin(opts ...libcnm.Option) (context.Context, *libcnm.NetworkController, func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	opts = append(opts, libcnm.WithDataDir(filepath.Join(dir, "data")), libcnm.WithRunDir(filepath.Join(dir, "run")))
	ctrl, err := libcnm.New(ctx, opts...)
	if err != nil {
		panic(err)
	}
	sweep(ctx, ctrl)
	return ctx, ctrl, func() { end(ctrl, dir) }
}

// sweep removes what tests before the examples have left of bridge networks, as a controller does when it comes to it.
func sweep(ctx context.Context, ctrl *libcnm.NetworkController) {
	nw, err := ctrl.NewNetwork(ctx, "bridge", "sweep")
	if err == nil {
		err = errors.Join(ctrl.Reconcile(ctx), nw.Delete(ctx))
	}
	if err != nil {
		panic(err)
	}
}

// end removes whatever an example has made.
func end(ctrl *libcnm.NetworkController, dir string) {
	if err := errors.Join(removeAll(context.Background(), ctrl), ctrl.Close(), os.RemoveAll(dir)); err != nil {
		panic(err)
	}
}

func removeAll(ctx context.Context, ctrl *libcnm.NetworkController) error {
	for _, sb := range ctrl.Sandboxes() {
		if err := sb.Delete(ctx); err != nil {
			return err
		}
	}
	networks, err := ctrl.Networks(ctx)
	if err != nil {
		return err
	}
	for _, nw := range networks {
		eps, err := nw.Endpoints(ctx)
		if err != nil {
			return err
		}
		for _, ep := range eps {
			if err := ep.Delete(ctx); err != nil {
				return err
			}
		}
		if err := nw.Delete(ctx); err != nil {
			return err
		}
	}
	return nil
}

// newWeb makes the network of most examples: 10.20.0.0/24 and fd20::/64.
func newWeb(ctx context.Context, ctrl *libcnm.NetworkController) *libcnm.Network {
	nw, err := ctrl.NewNetwork(ctx, "bridge", "web",
		libcnm.WithSubnet(netip.MustParsePrefix("10.20.0.0/24")),
		libcnm.WithSubnet(netip.MustParsePrefix("fd20::/64")))
	if err != nil {
		panic(err)
	}
	return nw
}

// joinWeb makes a container with an endpoint of its name in the network.
func joinWeb(ctx context.Context, ctrl *libcnm.NetworkController, nw *libcnm.Network, name string) (*libcnm.Sandbox, *libcnm.Endpoint) {
	sb, err := ctrl.NewSandbox(ctx, name)
	if err != nil {
		panic(err)
	}
	ep, err := nw.CreateEndpoint(ctx, name)
	if err != nil {
		panic(err)
	}
	if err := ep.Join(ctx, sb); err != nil {
		panic(err)
	}
	return sb, ep
}
