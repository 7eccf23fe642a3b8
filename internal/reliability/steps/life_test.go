package steps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"github.com/vishvananda/netlink"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

// lane is a driver and a store.
type lane struct {
	Driver   string     `json:"driver"`
	Underlay netip.Addr `json:"underlay"`
	Etcd     []string   `json:"etcd"` // none: the local store
}

func handlers() map[string]agent.Handler {
	return map[string]agent.Handler{
		"first":  agent.Handle(func(ctx context.Context, l lane) ([]act, error) { return live(ctx, l, firstLife) }),
		"second": agent.Handle(func(ctx context.Context, l lane) ([]act, error) { return live(ctx, l, secondLife) }),
	}
}

// deed is an operation.
type deed struct {
	name string
	do   func(context.Context) error
}

// live does one deed after the other under the witness's eyes.
func live(ctx context.Context, l lane, deeds func(*node) []deed) (acts []act, err error) {
	e := eyes{ovs: l.Driver == "ovs-vxlan"}
	if len(l.Etcd) > 0 {
		if e.etcd, err = clientv3.New(clientv3.Config{Endpoints: l.Etcd, Logger: zap.NewNop()}); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, e.etcd.Close()) }()
	}
	return watch(ctx, e.look, deeds(&node{lane: l}))
}

// node is a controller on the way through its life.
type node struct {
	lane
	ctrl *libcnm.NetworkController
	used []netip.Addr // by the endpoint before
}

// firstLife is that on an empty host.
func firstLife(n *node) []deed {
	return []deed{
		{"new, empty host", n.open},
		{"new network", n.newNetwork},
		{"create endpoint", n.createEndpoint},
		{"delete endpoint", n.deleteEndpoint},
		{"create endpoint, addresses used before", n.createEndpoint}, // so that they are announced
		{"new sandbox", n.newSandbox},
		{"join", n.join},
		{"rules are flushed", harm(loseRules)},
		{"reconcile, rules gone", n.reconcile},
		{"interfaces are changed", harm(n.changeInterfaces)},
		{"reconcile, interfaces changed", n.reconcile},
		{"interface is deleted", harm(n.loseInterface)},
		{"reconcile, interface gone", n.reconcile},
		{"close", n.close},
		{"new, all there", n.open},
		{"close again", n.close},
	}
}

// secondLife is that after a reboot.
func secondLife(n *node) []deed {
	return []deed{
		{"new, after a reboot", n.open}, // which ends the sandboxes
		{"new sandbox", n.newSandbox},
		{"join", n.join},
		{"leave", n.leave},
		{"delete sandbox", n.deleteSandbox},
		{"delete endpoint", n.deleteEndpoint},
		{"delete network", n.deleteNetwork},
		{"close", n.close},
	}
}

// harm is what somebody else does. It is a step so that the witness does not wonder.
func harm(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error { return step.Do("harm", func() error { return do(ctx) }) }
}

func loseRules(ctx context.Context) error {
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat"} {
			if out, err := exec.CommandContext(ctx, name, "--wait", "-t", table, "-F").CombinedOutput(); err != nil {
				return fmt.Errorf("%s: %w: %s", name, err, out)
			}
		}
	}
	return nil
}

// changeInterfaces changes each end of a pair, an address and the state.
func (n *node) changeInterfaces(ctx context.Context) error {
	sb, err := n.ctrl.SandboxByContainer("box")
	if err != nil {
		return err
	}
	script := "ip link set eth0 mtu 1300 && ip addr add 192.0.2.1/32 dev eth0 && ip link set eth0 down"
	if err := sb.Command(ctx, "sh", "-c", script).Run(); err != nil {
		return err
	}
	links, err := link.Complete(netlink.LinkList)
	for _, l := range links {
		if owner, ours := link.ParseOwner(l.Attrs().Alias); ours && owner.Endpoint != "" {
			err = errors.Join(err, netlink.LinkSetMTU(l, 1300))
		}
	}
	return err
}

func (n *node) loseInterface(ctx context.Context) error {
	sb, err := n.ctrl.SandboxByContainer("box")
	if err != nil {
		return err
	}
	return sb.Command(ctx, "ip", "link", "delete", "eth0").Run()
}

func (n *node) open(ctx context.Context) error {
	// No periodic check: nothing happens that no operation is the cause of.
	opts := []libcnm.Option{libcnm.WithNode("node1", n.Underlay), libcnm.WithCheckInterval(time.Hour)}
	if len(n.Etcd) > 0 {
		opts = append(opts, libcnm.WithEtcd(clientv3.Config{Endpoints: n.Etcd}))
	}
	var err error
	n.ctrl, err = libcnm.New(ctx, opts...)
	return err
}

func (n *node) close(context.Context) error { return n.ctrl.Close() }

func (n *node) reconcile(ctx context.Context) error { return n.ctrl.Reconcile(ctx) }

func (n *node) newNetwork(ctx context.Context) error {
	_, err := n.ctrl.NewNetwork(ctx, n.Driver, "web")
	return err
}

func (n *node) deleteNetwork(ctx context.Context) error {
	web, err := n.ctrl.NetworkByName(ctx, "web")
	if err != nil {
		return err
	}
	return web.Delete(ctx)
}

func (n *node) createEndpoint(ctx context.Context) error {
	web, err := n.ctrl.NetworkByName(ctx, "web")
	if err != nil {
		return err
	}
	ep, err := web.CreateEndpoint(ctx, "a", libcnm.WithIP(n.used...))
	if err != nil {
		return err
	}
	n.used = nil
	for _, p := range ep.Info().Addresses {
		n.used = append(n.used, p.Addr())
	}
	return nil
}

func (n *node) deleteEndpoint(ctx context.Context) error {
	ep, err := n.endpoint(ctx)
	if err != nil {
		return err
	}
	return ep.Delete(ctx)
}

func (n *node) endpoint(ctx context.Context) (*libcnm.Endpoint, error) {
	web, err := n.ctrl.NetworkByName(ctx, "web")
	if err != nil {
		return nil, err
	}
	return web.EndpointByName(ctx, "a")
}

func (n *node) newSandbox(ctx context.Context) error {
	_, err := n.ctrl.NewSandbox(ctx, "box")
	return err
}

func (n *node) deleteSandbox(ctx context.Context) error {
	sb, err := n.ctrl.SandboxByContainer("box")
	if err != nil {
		return err
	}
	return sb.Delete(ctx)
}

func (n *node) join(ctx context.Context) error {
	ep, err := n.endpoint(ctx)
	if err != nil {
		return err
	}
	sb, err := n.ctrl.SandboxByContainer("box")
	if err != nil {
		return err
	}
	return ep.Join(ctx, sb)
}

func (n *node) leave(ctx context.Context) error {
	ep, err := n.endpoint(ctx)
	if err != nil {
		return err
	}
	sb, err := n.ctrl.SandboxByContainer("box")
	if err != nil {
		return err
	}
	return ep.Leave(ctx, sb)
}
