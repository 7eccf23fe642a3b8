package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Veth is a pair of interfaces: a packet that goes into one end comes out of the other. The first end lives in the
// Handle's namespace and is up.
type Veth struct {
	Name   string
	Alias  string           // an Owner's text; required
	Master string           // bridge it is a port of, in the same namespace; empty: none
	MAC    net.HardwareAddr // nil: the kernel's choice
	MTU    int              // bytes, of both ends; 0: the kernel's default
	// DisableIPv6 keeps the host's IPv6 away from this end: no link-local address, no neighbour discovery.
	DisableIPv6 bool
	// TxOff makes the kernel compute checksums itself instead of leaving it to the receiver. Needed where the frames
	// are read by a packet socket, as Open vSwitch's netdev datapath does.
	TxOff bool
	// Promiscuous is what a packet socket that reads every frame makes of this end anyhow: made so from the start, it does not
	// change when the socket comes, nor when it goes.
	Promiscuous bool
	// GroupForward says of which groups 01:80:c2:00:00:0X, of link protocols, the bridge treats frames from this end as
	// any other, bit X for each, instead of handing them to the host whatever they carry. Bit 1 cannot be set: pause frames
	// are always dropped. 0: left alone. Only with Master.
	GroupForward uint16
	Peer         VethPeer
}

// VethPeer is the other end. It has no addresses, and is down unless Up.
type VethPeer struct {
	// Up raises it when the pair is made, so that the first end has its carrier from the start; with IPv6 off, so that it
	// says nothing before it is configured.
	Up          bool
	Name        string
	NS          *NS              // nil: the Handle's namespace
	MAC         net.HardwareAddr // nil: the kernel's choice
	DisableIPv6 bool
	TxOff       bool
}

func (v Veth) validate() error {
	if err := errors.Join(CheckName(v.Name), CheckName(v.Peer.Name)); err != nil {
		return err
	}
	if v.Master != "" {
		if err := CheckName(v.Master); err != nil {
			return err
		}
	}
	if _, ok := ParseOwner(v.Alias); !ok {
		return classed("check veth", v.Name, errdefs.ErrInvalid, "alias %q is no owner mark", v.Alias)
	}
	if v.GroupForward != 0 && (v.Master == "" || v.GroupForward&2 != 0) {
		return classed("check veth", v.Name, errdefs.ErrInvalid, "groups forwarded %#x by bridge %q", v.GroupForward, v.Master)
	}
	return errors.Join(checkMAC(v.Name, v.MAC), checkMAC(v.Peer.Name, v.Peer.MAC), checkMTU(v.Name, v.MTU))
}

func checkMAC(name string, mac net.HardwareAddr) error {
	if mac != nil && (len(mac) != 6 || mac[0]&1 != 0) {
		return classed("check interface", name, errdefs.ErrInvalid, "MAC address %s is not a unicast address of six octets", mac)
	}
	return nil
}

func checkMTU(name string, mtu int) error {
	if mtu != 0 && (mtu < 68 || mtu > 65535) {
		return classed("check interface", name, errdefs.ErrInvalid, "MTU %d is outside 68..65535", mtu)
	}
	return nil
}

// EnsureVeth makes the pair exist as v says; both ends come from one request, the peer directly in its namespace. An
// existing pair with v's alias is kept and repaired, or, if its peer is missing, misnamed or in another namespace,
// replaced. An interface that has either name and is not ours is ErrConflict and stays as it is.
func (h *Handle) EnsureVeth(ctx context.Context, v Veth) error {
	if err := v.validate(); err != nil {
		return err
	}
	return h.use(ctx, func(c *conn) error {
		var master int
		if v.Master != "" {
			l, err := c.link(v.Master)
			if err != nil {
				return fmt.Errorf("veth %s: %w", v.Name, err)
			}
			master = l.Index
		}
		create := []change{v.create(master)}
		if v.Peer.NS != nil {
			create = []change{numberNS(v.Peer.NS), v.create(master)}
		}
		err := c.changes.apply(create...)
		if errors.Is(err, unix.EEXIST) {
			kept, keepErr := h.keepVeth(c, v, master)
			if kept || keepErr != nil {
				return keepErr
			}
			err = c.changes.apply(create...)
		}
		if err != nil {
			return v.explain(err)
		}
		return h.finishVeth(c, v)
	})
}

// explain adds what the kernel's errno does not say.
func (v Veth) explain(err error) error {
	switch {
	case errors.Is(err, unix.EXFULL):
		return classed("create veth", v.Name, errdefs.ErrExhausted, "bridge %s: a bridge has at most 1023 ports: %w", v.Master, err)
	case errors.Is(err, unix.EEXIST):
		return v.peerTaken()
	}
	return err
}

func (v Veth) peerTaken() error {
	return classed("create veth", v.Name, errdefs.ErrConflict, "there is another interface of its other end's name %s", v.Peer.Name)
}

// keepVeth deals with a namesake of either end. It reports true when the pair that is there is now as wanted, false when
// it was in the way and has been removed.
func (h *Handle) keepVeth(c *conn, v Veth, master int) (bool, error) {
	l, err := c.link(v.Name)
	if errors.Is(err, errdefs.ErrNotFound) {
		return false, v.peerTaken()
	}
	if err != nil {
		return false, err
	}
	if !l.carries(v.Alias) {
		return false, notOurs("create veth", l)
	}
	if l.unfinished(v.Alias) {
		return false, c.delete(l)
	}
	state, err := h.vethState(c, v, l)
	if err != nil {
		return false, err
	}
	if state.broken(v) != "" {
		return false, c.delete(l)
	}
	if len(state.differences(v, master)) == 0 {
		return true, nil
	}
	return true, h.repairVeth(c, v, state, master)
}

// create is the one request. The alias cannot be part of it; the group can, see the package comment.
func (v Veth) create(master int) change {
	group := groupOf(v.Alias)
	info := attr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	peer.AddChild(header(0))
	peer.AddChild(attrText(unix.IFLA_IFNAME, v.Peer.Name))
	if v.Peer.NS != nil {
		peer.AddChild(attr32(unix.IFLA_NET_NS_FD, uint32(v.Peer.NS.FD())))
	}
	for _, a := range physical(v.Peer.MAC, v.MTU) {
		peer.AddChild(a)
	}
	attrs := append(physical(v.MAC, v.MTU), attrText(unix.IFLA_IFNAME, v.Name), attr32(unix.IFLA_GROUP, group), info)
	if master != 0 {
		attrs = append(attrs, attr32(unix.IFLA_MASTER, uint32(master)))
	}
	return newChange("create veth", v.Name, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, header(0), attrs...)
}

// physical is the part that both ends have, and that a repair sets again.
func physical(mac net.HardwareAddr, mtu int) []*nl.RtAttr {
	var attrs []*nl.RtAttr
	if mac != nil {
		attrs = append(attrs, attr(unix.IFLA_ADDRESS, mac))
	}
	if mtu != 0 {
		attrs = append(attrs, attr32(unix.IFLA_MTU, uint32(mtu)))
	}
	return attrs
}

// finishVeth does what the creating request cannot. The alias comes last: a pair that has it is complete.
func (h *Handle) finishVeth(c *conn, v Veth) error {
	if err := h.tuneVeth(v); err != nil {
		return err
	}
	if v.Peer.Up {
		if err := h.raisePeer(c, v); err != nil {
			return err
		}
	}
	attrs := []*nl.RtAttr{attrText(unix.IFLA_IFNAME, v.Name), attr(unix.IFLA_IFALIAS, []byte(v.Alias))}
	if v.GroupForward != 0 {
		attrs = append(attrs, forwardGroups(v.GroupForward))
	}
	head := headerUp(0, true)
	if v.Promiscuous {
		head.Change, head.Flags = head.Change|unix.IFF_PROMISC, head.Flags|unix.IFF_PROMISC
	}
	return c.changes.apply(newChange("mark veth", v.Name, unix.RTM_NEWLINK, 0, head, attrs...))
}

func (h *Handle) raisePeer(c *conn, v Veth) error {
	if err := h.withinPeer(v, func() error { return setIPv6(v.Peer.Name, false) }); err != nil {
		return err
	}
	raise := newChange("raise veth peer", v.Peer.Name, unix.RTM_NEWLINK, 0, headerUp(0, true), attrText(unix.IFLA_IFNAME, v.Peer.Name))
	return h.atPeer(c, v, func(c *conn) error { return c.changes.apply(raise) })
}

// tuneVeth sets what is no link attribute: sysctls and offloads, on either end.
func (h *Handle) tuneVeth(v Veth) error {
	if err := tune(h.inside, v.Name, v.DisableIPv6, v.TxOff); err != nil {
		return err
	}
	there := func(fn func() error) error { return h.withinPeer(v, fn) }
	return tune(there, v.Peer.Name, v.Peer.DisableIPv6, v.Peer.TxOff)
}

func tune(within func(func() error) error, name string, noIPv6, txOff bool) error {
	if !noIPv6 && !txOff {
		return nil
	}
	return within(func() error {
		if txOff {
			if err := setTxChecksum(name, false); err != nil {
				return err
			}
		}
		if noIPv6 {
			return setIPv6(name, false)
		}
		return nil
	})
}

// withinPeer is inside for the namespace of v's other end.
func (h *Handle) withinPeer(v Veth, fn func() error) error {
	if v.Peer.NS == nil {
		return h.inside(fn)
	}
	return v.Peer.NS.Do(fn)
}

// repairVeth sets everything that can be set on a living pair. The MTU goes before the sysctls: raised from below 1280
// bytes, an end has IPv6 again.
func (h *Handle) repairVeth(c *conn, v Veth, state vethState, master int) error {
	attrs := physical(v.MAC, v.MTU)
	if state.host.Master != master {
		attrs = append(attrs, attr32(unix.IFLA_MASTER, uint32(master)))
	}
	err := c.changes.apply(newChange("repair veth", v.Name, unix.RTM_SETLINK, 0, headerUp(state.host.Index, true), attrs...))
	if err != nil {
		return v.explain(err)
	}
	if v.GroupForward != 0 { // not in the request before, which may make it another bridge's port
		if err := c.changes.apply(newChange("set groups forwarded by", v.Name, unix.RTM_NEWLINK, 0, header(state.host.Index),
			forwardGroups(v.GroupForward))); err != nil {
			return err
		}
	}
	fix := newChange("repair veth peer", v.Peer.Name+" (index "+strconv.Itoa(state.peer.Index)+")",
		unix.RTM_SETLINK, 0, header(state.peer.Index), physical(v.Peer.MAC, v.MTU)...)
	if err := h.atPeer(c, v, func(c *conn) error { return c.changes.apply(fix) }); err != nil {
		return err
	}
	return h.tuneVeth(v)
}

// atPeer runs fn with a connection in the namespace of v's other end.
func (h *Handle) atPeer(c *conn, v Veth, fn func(*conn) error) error {
	if v.Peer.NS == nil {
		return fn(c)
	}
	there, err := Open(v.Peer.NS)
	if err != nil {
		return err
	}
	return errors.Join(there.useSlot(fn), there.Close())
}
