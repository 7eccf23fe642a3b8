package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/link"
)

// loseInterface deletes a sandbox's interface, as its processes may.
func loseInterface(container string) action {
	return func(ctx context.Context, w *world) error {
		sb, err := w.ctrl.SandboxByContainer(container)
		if err != nil {
			return err
		}
		return sb.Command(ctx, "ip", "link", "delete", "eth0").Run()
	}
}

// changeInterface changes both ends of a sandbox's interface.
func changeInterface(container string) action {
	return func(ctx context.Context, w *world) error {
		sb, err := w.ctrl.SandboxByContainer(container)
		if err != nil {
			return err
		}
		const script = "ip link set eth0 mtu 1300 && ip addr add 192.0.2.1/32 dev eth0 && ip link set eth0 down"
		if err := sb.Command(ctx, "sh", "-c", script).Run(); err != nil {
			return err
		}
		links, err := link.Complete(netlink.LinkList)
		if err != nil {
			return err
		}
		for _, l := range links {
			owner, ours := link.ParseOwner(l.Attrs().Alias)
			if ours && owner.Endpoint != "" && owner.Endpoint == sb.Endpoints()[0].ID() {
				return netlink.LinkSetMTU(l, 1300)
			}
		}
		return fmt.Errorf("no interface of %s among %d links", container, len(links))
	}
}

// loseNamespace removes a sandbox's namespace.
func loseNamespace(container string) action {
	return func(_ context.Context, w *world) error {
		sb, err := w.ctrl.SandboxByContainer(container)
		if err != nil {
			return err
		}
		return errors.Join(unix.Unmount(sb.Key(), unix.MNT_DETACH), os.Remove(sb.Key()))
	}
}

// loseRules removes every rule and chain at once, as a restarted firewall does.
func loseRules(ctx context.Context, _ *world) error {
	const empty = "*raw\nCOMMIT\n*mangle\nCOMMIT\n*nat\nCOMMIT\n*filter\nCOMMIT\n"
	for _, program := range []string{"iptables-restore", "ip6tables-restore"} {
		cmd := exec.CommandContext(ctx, program, "--wait")
		cmd.Stdin = strings.NewReader(empty)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
	}
	return nil
}

// loseBridge deletes the bridge that the driver's networks are on.
func loseBridge(ctx context.Context, w *world) error {
	if w.driver == "ovs-vxlan" {
		return command(ctx, "ovs-vsctl", "--timeout=20", "del-br", "cnm-int")
	}
	links, err := link.Complete(netlink.LinkList)
	if err != nil {
		return err
	}
	for _, l := range links {
		if _, ours := link.ParseOwner(l.Attrs().Alias); ours && l.Type() == "bridge" {
			return netlink.LinkDel(l)
		}
	}
	return fmt.Errorf("no bridge among %d links", len(links))
}

// loseFlows empties the switch.
func loseFlows(ctx context.Context, _ *world) error {
	const switchName = "cnm-int"
	return errors.Join(
		command(ctx, "ovs-ofctl", "-O", "OpenFlow15", "del-flows", switchName),
		command(ctx, "ovs-ofctl", "-O", "OpenFlow15", "del-groups", switchName))
}
