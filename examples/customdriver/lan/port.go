package lan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/libcnm/libcnm/drivers"
)

// applyPort makes the endpoint's veth as it should be and returns its MTU. A port that is right already is not touched:
// its traffic would stop.
func applyPort(ctx context.Context, n network, ep drivers.Endpoint) (int, error) {
	mtu, err := mtuOf(n)
	if err != nil {
		return 0, err
	}
	l, differs, err := findPort(n, ep)
	if err != nil || differs == "" {
		return mtu, err
	}
	if l != nil {
		if err := remove(l); err != nil {
			return 0, err
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return mtu, addPort(ctx, n, ep, mtu)
}

// addPort makes both ends in one request, the sandbox's in its place and under its name at once.
func addPort(ctx context.Context, n network, ep drivers.Endpoint, mtu int) error {
	bridge, err := owned(bridgeName(n.ID), mark{network: n.ID})
	if err != nil {
		return err
	}
	if bridge == nil {
		return fmt.Errorf("bridge %s: %w", bridgeName(n.ID), drivers.ErrNotFound)
	}
	sandbox, err := os.Open(ep.NetNS)
	if err != nil {
		return fmt.Errorf("sandbox: %w: %w", err, drivers.ErrNotFound)
	}
	defer sandbox.Close()

	name := portName(ep.ID)
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name, MTU: mtu, Group: group, TxQLen: -1})
	veth.PeerName = ep.Interface
	veth.PeerHardwareAddr = ep.MAC.HardwareAddr()
	veth.PeerNamespace = netlink.NsFd(sandbox.Fd())
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s with peer %s: %w", name, ep.Interface, err)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.LinkSetMaster(l, bridge); err != nil {
		return fmt.Errorf("make link %s a port: %w", name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := up(l); err != nil {
		return err
	}
	// The alias comes last: a port that has it is complete.
	if err := netlink.LinkSetAlias(l, mark{n.ID, ep.ID}.String()); err != nil {
		return fmt.Errorf("mark link %s: %w", name, err)
	}
	return nil
}

// findPort finds an endpoint's port and says what of it is not as it should be; empty when it is right.
func findPort(n network, ep drivers.Endpoint) (l netlink.Link, differs string, err error) {
	m := mark{n.ID, ep.ID}
	if l, err = owned(portName(ep.ID), m); err != nil {
		return nil, "", err
	}
	if l == nil {
		return nil, "absent", nil
	}
	bridge, err := owned(bridgeName(n.ID), mark{network: n.ID})
	if err != nil {
		return nil, "", err
	}
	mtu, err := mtuOf(n)
	if err != nil && !errors.Is(err, drivers.ErrNotFound) { // without an uplink any MTU is as good as another
		return nil, "", err
	}
	a := l.Attrs()
	switch {
	case a.Alias != m.String():
		return l, "half made", nil
	case bridge == nil || a.MasterIndex != bridge.Attrs().Index:
		return l, "no port of its bridge", nil
	case !isUp(l):
		return l, "down", nil
	case err == nil && a.MTU != mtu:
		return l, fmt.Sprintf("MTU %d, not %d", a.MTU, mtu), nil
	}
	differs, err = peerDiffers(a, ep)
	return l, differs, err
}

// peerDiffers looks into the sandbox. Each end of a veth knows the other's index; a name alone proves nothing.
func peerDiffers(port *netlink.LinkAttrs, ep drivers.Endpoint) (string, error) {
	sandbox, err := os.Open(ep.NetNS)
	if errors.Is(err, fs.ErrNotExist) {
		return "no sandbox " + ep.NetNS, nil
	}
	if err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	defer sandbox.Close()
	inside, err := netlink.NewHandleAt(netns.NsHandle(sandbox.Fd()))
	if err != nil {
		return "", fmt.Errorf("enter sandbox %s: %w", ep.NetNS, err)
	}
	defer inside.Close()
	peer, err := inside.LinkByName(ep.Interface)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return "no interface " + ep.Interface, nil
	}
	if err != nil {
		return "", fmt.Errorf("find interface %s in %s: %w", ep.Interface, ep.NetNS, err)
	}
	p := peer.Attrs()
	if p.ParentIndex != port.Index || port.ParentIndex != p.Index || !bytes.Equal(p.HardwareAddr, ep.MAC[:]) {
		return "interface " + ep.Interface + " is another", nil
	}
	return "", nil
}
