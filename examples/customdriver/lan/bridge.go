package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
)

// defaultMTU is that of a segment without an uplink to ask.
const defaultMTU = 1500

// mtuOf is the network's MTU on this host.
func mtuOf(n network) (int, error) {
	if n.MTU != 0 {
		return n.MTU, nil
	}
	if n.uplink == "" {
		return defaultMTU, nil
	}
	l, err := uplink(n)
	if err != nil {
		return 0, err
	}
	return l.Attrs().MTU, nil
}

func uplink(n network) (netlink.Link, error) {
	l, err := link(n.uplink)
	if err == nil && l == nil {
		err = fmt.Errorf("uplink %s: %w", n.uplink, drivers.ErrNotFound)
	}
	return l, err
}

// applyBridge makes the network's bridge as it should be, property by property: it is never made anew, for its ports
// would fall off.
func applyBridge(ctx context.Context, n network) error {
	name, m := bridgeName(n.ID), mark{network: n.ID}
	mtu, err := mtuOf(n)
	if err != nil {
		return err
	}
	l, err := owned(name, m)
	if err != nil {
		return err
	}
	if l == nil {
		attrs := netlink.LinkAttrs{Name: name, MTU: mtu, Group: group, TxQLen: -1}
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("add bridge %s: %w", name, err)
		}
		if l, err = netlink.LinkByName(name); err != nil {
			return fmt.Errorf("find link %s: %w", name, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.Attrs().Alias != m.String() {
		// The host takes no part in the segment, not by link-local addresses either.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil {
			return fmt.Errorf("disable IPv6 on bridge %s: %w", name, err)
		}
		if err := netlink.LinkSetAlias(l, m.String()); err != nil {
			return fmt.Errorf("mark bridge %s: %w", name, err)
		}
	}
	if l.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("set MTU %d of bridge %s: %w", mtu, name, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.uplink != "" {
		if err := takeUplink(n, l); err != nil {
			return err
		}
	}
	return up(l)
}

// takeUplink makes the uplink a port of the bridge, unless somebody else needs it.
func takeUplink(n network, bridge netlink.Link) error {
	l, err := uplink(n)
	if err != nil {
		return err
	}
	switch l.Attrs().MasterIndex {
	case bridge.Attrs().Index:
		return up(l)
	case 0:
	default:
		return fmt.Errorf("uplink %s: a port of another bridge: %w", n.uplink, drivers.ErrInUse)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list addresses of uplink %s: %w", n.uplink, err)
	}
	for _, a := range addrs {
		if a.IP.IsGlobalUnicast() {
			return fmt.Errorf("uplink %s: the host uses its address %s: %w", n.uplink, a.IPNet, drivers.ErrInUse)
		}
	}
	if err := netlink.LinkSetMaster(l, bridge); err != nil {
		return fmt.Errorf("make uplink %s a port: %w", n.uplink, err)
	}
	return up(l)
}

func up(l netlink.Link) error {
	if isUp(l) {
		return nil
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("raise link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

func isUp(l netlink.Link) bool { return l.Attrs().Flags&net.FlagUp != 0 }

// deleteBridge deletes a network's ports and then its bridge. A half-made port is known by the bridge it is in.
func deleteBridge(ctx context.Context, id drivers.NetworkID) error {
	m := mark{network: id}
	bridge, err := owned(bridgeName(id), m)
	if err != nil && !errors.Is(err, drivers.ErrConflict) {
		return err
	}
	err = deleteMatching(ctx, func(m mark, a *netlink.LinkAttrs) bool {
		return m.network == id && m.endpoint != "" || bridge != nil && a.MasterIndex == bridge.Attrs().Index
	})
	if err != nil {
		return err
	}
	return deleteOwned(bridgeName(id), m)
}

// bridgeDiffers says what of a network's bridge is not as it should be; empty when it is right.
func bridgeDiffers(n network) (string, error) {
	m := mark{network: n.ID}
	l, err := owned(bridgeName(n.ID), m)
	switch {
	case errors.Is(err, drivers.ErrConflict):
		return "somebody else's", nil
	case err != nil:
		return "", err
	case l == nil:
		return "absent", nil
	case l.Attrs().Alias != m.String():
		return "half made", nil
	case !isUp(l):
		return "down", nil
	}
	mtu, err := mtuOf(n)
	if errors.Is(err, drivers.ErrNotFound) {
		return "no uplink " + n.uplink, nil
	}
	if err != nil {
		return "", err
	}
	if l.Attrs().MTU != mtu {
		return fmt.Sprintf("MTU %d, not %d", l.Attrs().MTU, mtu), nil
	}
	if n.uplink == "" {
		return "", nil
	}
	port, err := uplink(n)
	if err != nil {
		return "", err
	}
	if port.Attrs().MasterIndex != l.Attrs().Index || !isUp(port) {
		return "uplink " + n.uplink + " is no port", nil
	}
	return "", nil
}
