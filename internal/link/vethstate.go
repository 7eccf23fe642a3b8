package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// vethState is a pair as it is.
type vethState struct {
	host      Link
	peer      Link // zero: not in the namespace where it should be
	elsewhere bool // the peer is in another namespace than the wanted one
	// Not read unless wanted.
	hostTxOff, peerTxOff bool
}

// vethState finds the other end by the host end's own word: the index it gives, in the namespace it gives. The name
// alone proves nothing; anyone in a sandbox can make an eth0.
func (h *Handle) vethState(c *conn, v Veth, host Link) (vethState, error) {
	s := vethState{host: host}
	if host.Kind != "veth" {
		return s, nil
	}
	if v.Master == "" {
		switched, err := c.switched(host)
		if err != nil {
			return s, err
		}
		if switched {
			s.host.Master = 0
		}
	}
	wantNS := -1
	if v.Peer.NS != nil {
		if v.Peer.NS.Identity() != h.own {
			id, err := c.GetNetNsIdByFd(v.Peer.NS.FD())
			if err != nil {
				return s, opError("identify namespace of", v.Peer.Name, err)
			}
			if id < 0 {
				// The kernel numbers a namespace when a link first leads there: none does.
				s.elsewhere = true
				return s, nil
			}
			wantNS = id
		}
	}
	if host.peerNS != wantNS {
		s.elsewhere = true
		return s, nil
	}
	if v.TxOff {
		if err := h.inside(func() (err error) { s.hostTxOff, err = txOff(host.Name); return err }); err != nil {
			return s, err
		}
	}
	peer, err := c.otherEnd(host, v.Peer.Name)
	if errors.Is(err, errdefs.ErrNotFound) {
		return s, nil
	}
	s.peer = peer
	if err != nil || !v.Peer.TxOff {
		return s, err
	}
	within := h.inside
	if v.Peer.NS != nil {
		within = v.Peer.NS.Do
	}
	err = within(func() (err error) { s.peerTxOff, err = txOff(s.peer.Name); return err })
	return s, err
}

// txOff reports whether checksums are left to nobody else.
func txOff(name string) (bool, error) {
	on, err := txChecksum(name)
	return !on, err
}

// broken says why the pair must be made anew, if it must.
func (s vethState) broken(v Veth) string {
	switch {
	case s.host.Kind != "veth":
		return "a " + s.host.Kind
	case s.elsewhere:
		return "in another namespace"
	case s.peer.Name == "":
		return "missing"
	case s.peer.Name != v.Peer.Name:
		return "named " + s.peer.Name
	}
	return ""
}

// differences names what is not as v says. It is pure.
func (s vethState) differences(v Veth, master int) []Difference {
	var d differences
	if why := s.broken(v); why != "" {
		d.add(fmt.Sprintf("link %s peer %s", v.Name, v.Peer.Name), "present", why)
		return d
	}
	d.end(v.Name, s.host, v.MAC, v.MTU)
	d.state("link "+v.Name, true, s.host.Up)
	d.number("link "+v.Name+" master index", master, s.host.Master)
	d.off(s.host, s.hostTxOff, v.DisableIPv6, v.TxOff)
	if v.GroupForward != 0 {
		d.text("link "+v.Name+" groups forwarded", maskText(v.GroupForward), maskText(s.host.conf.groups))
	}
	d.end(v.Peer.Name, s.peer, v.Peer.MAC, v.MTU)
	d.off(s.peer, s.peerTxOff, v.Peer.DisableIPv6, v.Peer.TxOff)
	return d
}

func (d *differences) end(name string, have Link, mac net.HardwareAddr, mtu int) {
	if mtu != 0 {
		d.number("link "+name+" mtu", mtu, have.MTU)
	}
	if mac != nil {
		d.text("link "+name+" address", mac.String(), have.MAC.String())
	}
}

func (d *differences) off(have Link, haveTxOff, noIPv6, txOff bool) {
	if noIPv6 && !have.conf.noIPv6 {
		d.add("link "+have.Name+" IPv6", "disabled", "enabled")
	}
	if txOff && !haveTxOff {
		d.add("link "+have.Name+" checksum offload", "off", "on")
	}
}

// CheckVeth names every way in which the pair is not as v says. It changes nothing.
func (h *Handle) CheckVeth(ctx context.Context, v Veth) ([]Difference, error) {
	if err := v.validate(); err != nil {
		return nil, err
	}
	var out []Difference
	err := h.use(ctx, func(c *conn) error {
		l, err := c.link(v.Name)
		switch {
		case errors.Is(err, errdefs.ErrNotFound):
			out = []Difference{{Object: "link " + v.Name, Want: v.Alias}}
			return nil
		case err != nil:
			return err
		case l.Alias != v.Alias:
			out = []Difference{{Object: "link " + v.Name, Want: v.Alias, Have: fmt.Sprintf("%s with alias %q", l.Kind, l.Alias)}}
			return nil
		}
		state, err := h.vethState(c, v, l)
		if errors.Is(err, errdefs.ErrNotFound) { // it was deleted between one question and the next
			out = []Difference{{Object: "link " + v.Name, Want: v.Alias}}
			return nil
		}
		if err != nil {
			return err
		}
		master, missing, err := c.master(v.Master)
		out = slices.Concat(missing, state.differences(v, master))
		return err
	})
	return out, err
}

// CheckVethAmong is CheckVeth for one of many: listed is what OwnedSoon has returned just now, which tells of the Handle's
// end, and of the bridge. What is not as it should be by that is asked for again, so what was missing in the list, or has
// changed since, is no difference.
func (h *Handle) CheckVethAmong(ctx context.Context, v Veth, listed []Link) ([]Difference, error) {
	l, there := find(listed, v.Name)
	master, known := find(listed, v.Master)
	if there && l.Alias == v.Alias && (known || v.Master == "") && v.validate() == nil {
		var right bool
		err := h.use(ctx, func(c *conn) error {
			state, err := h.vethState(c, v, l)
			right = err == nil && len(state.differences(v, master.Index)) == 0
			return err
		})
		if right && err == nil {
			return nil, nil
		}
	}
	return h.CheckVeth(ctx, v)
}

// find looks up a link in a list that is ordered by name.
func find(listed []Link, name string) (Link, bool) {
	i, found := slices.BinarySearchFunc(listed, name, func(l Link, name string) int { return strings.Compare(l.Name, name) })
	if !found {
		return Link{}, false
	}
	return listed[i], true
}

// switched reports whether the link is a port of Open vSwitch's kernel datapath. Its master is then a link of the datapath,
// which nobody can take it from but Open vSwitch: it is no port of a bridge.
func (c *conn) switched(l Link) (bool, error) {
	if l.Master == 0 {
		return false, nil
	}
	master, err := c.askLink("master of "+l.Name, l.Master)
	if errors.Is(err, errdefs.ErrNotFound) {
		return false, nil // deleted meanwhile
	}
	return master.Kind == "openvswitch", err
}

// master looks up the bridge a link should be a port of. One that is absent is a difference.
func (c *conn) master(name string) (int, []Difference, error) {
	if name == "" {
		return 0, nil, nil
	}
	l, err := c.link(name)
	if errors.Is(err, errdefs.ErrNotFound) {
		return -1, []Difference{{Object: "link " + name, Want: "present"}}, nil
	}
	return l.Index, nil, err
}
