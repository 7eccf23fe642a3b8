package hostfault

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
)

// squatter is somebody else's interface under a name of ours.
type squatter struct {
	host *testutil.Host
	link netlink.Link
}

// squat replaces a link of ours by another's of the same name, and demands that nobody touches it and everybody is told.
func (s *squatter) squat(h *testutil.Host, ours func(*testing.T) netlink.Link) func(*testing.T) {
	return func(t *testing.T) {
		handle := h.NS.Netlink()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "foreign"
		must(t, handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
		foreign, err := handle.LinkByName("foreign")
		must(t, err)
		name := ours(t).Attrs().Name
		testutil.Eventually(t, settle, func() error { // the controller may be faster with a new one
			l, err := handle.LinkByName(name)
			if missing := (netlink.LinkNotFoundError{}); err == nil {
				err = handle.LinkDel(l)
			} else if errors.As(err, &missing) {
				err = nil
			}
			return errors.Join(err, handle.LinkSetName(foreign, name))
		})
		s.host, s.link = h, foreign
		for range 2 {
			if err := h.Call(t.Context(), "reconcile", nil, nil); !errors.Is(err, libcnm.ErrConflict) {
				t.Errorf("reconcile: %v, want ErrConflict", err)
			}
		}
		var found []string
		must(t, h.Call(t.Context(), "check", nil, &found))
		if text := fmt.Sprint(found); !strings.Contains(text, name) {
			t.Errorf("check says %s, and does not name %s", text, name)
		}
	}
}

// leave demands that the other's interface is as it was, and removes it.
func (s *squatter) leave(t *testing.T) {
	handle := s.host.NS.Netlink()
	l, err := handle.LinkByIndex(s.link.Attrs().Index)
	must(t, err)
	a := l.Attrs()
	addrs, err := handle.AddrList(l, netlink.FAMILY_ALL)
	must(t, err)
	if a.Alias != "" || a.MasterIndex != 0 || a.Flags != s.link.Attrs().Flags || a.MTU != s.link.Attrs().MTU || len(addrs) > 0 {
		t.Errorf("another's interface was changed: %+v, addresses %v", a, addrs)
	}
	must(t, handle.LinkDel(l))
}
