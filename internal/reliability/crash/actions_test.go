package crash

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"

	"github.com/libcnm/libcnm"
)

// runtimeNS is a namespace as a container runtime makes one.
const runtimeNS = "runtime"

var (
	addr4, addr6 = netip.MustParseAddr("10.77.0.9"), netip.MustParseAddr("fd77::9")
	subnet4      = libcnm.WithSubnet(netip.MustParsePrefix("10.77.0.0/24"))
	subnet6      = libcnm.WithSubnet(netip.MustParsePrefix("fd77::/64"))

	ofRuntime = []libcnm.SandboxOption{
		libcnm.WithNetNS("/run/netns/" + runtimeNS),
		libcnm.WithHostname("box.example"),
		libcnm.WithDNS(libcnm.DNS{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}, Search: []string{"example"}}),
		libcnm.WithExtraHosts(libcnm.ExtraHost{Name: "db", Addr: addr4}, libcnm.ExtraHost{Name: "db", Addr: addr6}),
		libcnm.WithSysctls(map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}),
	}
)

// network finds a network by what operations call it.
func (w *world) network(ctx context.Context, name string) (*libcnm.Network, error) {
	if name == busy {
		name = bystander + "-" + w.driver
	}
	return w.ctrl.NetworkByName(ctx, name)
}

func (w *world) endpoint(ctx context.Context, network, name string) (*libcnm.Endpoint, error) {
	n, err := w.network(ctx, network)
	if err != nil {
		return nil, err
	}
	return n.EndpointByName(ctx, name)
}

// membership finds the two sides of a join.
func (w *world) membership(ctx context.Context, network, name, container string) (*libcnm.Endpoint, *libcnm.Sandbox, error) {
	e, err := w.endpoint(ctx, network, name)
	if err != nil {
		return nil, nil, err
	}
	sb, err := w.ctrl.SandboxByContainer(container)
	return e, sb, err
}

func newNetwork(name string, opts ...libcnm.NetworkOption) action {
	return func(ctx context.Context, w *world) error {
		_, err := w.ctrl.NewNetwork(ctx, w.driver, name, opts...)
		return err
	}
}

func deleteNetwork(name string) action {
	return func(ctx context.Context, w *world) error {
		n, err := w.network(ctx, name)
		if err != nil {
			return err
		}
		return n.Delete(ctx)
	}
}

func newEndpoint(network, name string, opts ...libcnm.EndpointOption) action {
	return func(ctx context.Context, w *world) error {
		n, err := w.network(ctx, network)
		if err != nil {
			return err
		}
		_, err = n.CreateEndpoint(ctx, name, opts...)
		return err
	}
}

func deleteEndpoint(network, name string, opts ...libcnm.DeleteOption) action {
	return func(ctx context.Context, w *world) error {
		e, err := w.endpoint(ctx, network, name)
		if err != nil {
			return err
		}
		return e.Delete(ctx, opts...)
	}
}

func newSandbox(container string, opts ...libcnm.SandboxOption) action {
	return func(ctx context.Context, w *world) error {
		_, err := w.ctrl.NewSandbox(ctx, container, opts...)
		return err
	}
}

func deleteSandbox(container string) action {
	return func(ctx context.Context, w *world) error {
		sb, err := w.ctrl.SandboxByContainer(container)
		if err != nil {
			return err
		}
		return sb.Delete(ctx)
	}
}

func join(network, name, container string) action {
	return func(ctx context.Context, w *world) error {
		e, sb, err := w.membership(ctx, network, name, container)
		if err != nil {
			return err
		}
		return e.Join(ctx, sb)
	}
}

func leave(network, name, container string) action {
	return func(ctx context.Context, w *world) error {
		e, sb, err := w.membership(ctx, network, name, container)
		if err != nil {
			return err
		}
		return e.Leave(ctx, sb)
	}
}

func newRuntimeNS(ctx context.Context, _ *world) error {
	return command(ctx, "ip", "netns", "add", runtimeNS)
}

func removeRuntimeNS(ctx context.Context) error {
	_, err := os.Stat("/run/netns/" + runtimeNS)
	if errors.Is(err, os.ErrNotExist) {
		return nil // most cases make none
	}
	return errors.Join(err, command(ctx, "ip", "netns", "delete", runtimeNS))
}

// command runs a program on the host, as an administrator does.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// bystand makes a sandbox that no operation touches, in the driver's network of such, and tells where it is.
func (w *world) bystand(ctx context.Context, t task) (joined, error) {
	w.driver = t.Driver
	network, name := bystander+"-"+t.Driver, bystander+"-"+t.Driver+"-"+t.Operation
	if err := all(ensure(newNetwork(network)), newEndpoint(network, name), newSandbox(name), join(network, name, name))(ctx, w); err != nil {
		return joined{}, err
	}
	e, sb, err := w.membership(ctx, network, name, name)
	if err != nil {
		return joined{}, err
	}
	at := joined{Key: sb.Key()}
	for _, p := range e.Info().Addresses {
		at.Reach = append(at.Reach, p.Addr())
	}
	return at, nil
}
