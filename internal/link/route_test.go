package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func route(text string) Route {
	// destination via next hop dev interface
	f := strings.Fields(text)
	r := Route{Dst: netip.MustParsePrefix(f[0])}
	for i := 1; i+1 < len(f); i += 2 {
		switch f[i] {
		case "via":
			r.Via = netip.MustParseAddr(f[i+1])
		case "dev":
			r.Dev = f[i+1]
		case "mtu":
			if _, err := fmt.Sscan(f[i+1], &r.MTU); err != nil {
				panic(err)
			}
		}
	}
	return r
}

func routes(texts ...string) []Route {
	var out []Route
	for _, text := range texts {
		out = append(out, route(text))
	}
	return out
}

// routed makes a namespace with two dual-stack interfaces that have a carrier.
func routed(t *testing.T) *Handle {
	t.Helper()
	_, h := sandbox(t)
	for n, name := range []string{"eth0", "eth1"} {
		plain(t, h, name, name+"x")
		must(t, h.Configure(t.Context(), Interface{Name: name + "x", Up: true}))
		must(t, h.Configure(t.Context(), Interface{
			Name: name, Up: true, Addrs: prefixes(fmt.Sprintf("10.%d.0.2/24", n), fmt.Sprintf("fd00:%d::2/64", n)),
		}))
	}
	return h
}

func TestSetRoutesReachesEveryStateAndLeavesOthersAlone(t *testing.T) {
	h := routed(t)
	states := [][]Route{
		routes("0.0.0.0/0 via 10.0.0.1 dev eth0", "::/0 via fd00:0::1 dev eth0"),
		routes("0.0.0.0/0 via 10.1.0.1 dev eth1", "::/0 via fd00:1::1 dev eth1"),
		routes("10.5.0.0/16 via 10.0.0.9 dev eth0", "10.6.0.0/16 dev eth1", "fd05::/16 via fd00:1::9 dev eth1", "fd06::/16 dev eth0"),
		routes("0.0.0.0/0 via 10.0.0.1 dev eth0 mtu 1300", "fd06::/16 dev eth0 mtu 1300"),
		nil,
		routes("0.0.0.0/0 dev eth1", "::/0 dev eth1"),
	}
	others := fmt.Sprint(allRoutes(t, h))
	for from := range states {
		for to := range states {
			must(t, h.SetRoutes(t.Context(), states[from], nil))
			diffs, err := h.CheckRoutes(t.Context(), states[to], nil)
			if err != nil || (len(diffs) == 0) != (from == to) {
				t.Errorf("check %d against %d: %v\n%s", from, to, err, lines(diffs))
			}
			must(t, h.SetRoutes(t.Context(), states[to], nil))
			if diffs, err = h.CheckRoutes(t.Context(), states[to], nil); err != nil || len(diffs) != 0 {
				t.Errorf("from %d to %d: %v\n%s", from, to, err, lines(diffs))
			}
			have := fmt.Sprint(allRoutes(t, h))
			for _, r := range states[to] {
				if !strings.Contains(have, r.String()) {
					t.Errorf("from %d to %d: no route %s in %s", from, to, r, have)
				}
			}
		}
	}
	must(t, h.SetRoutes(t.Context(), nil, nil))
	if left := fmt.Sprint(allRoutes(t, h)); left != others {
		t.Errorf("left: %s\nat the start: %s", left, others)
	}
}

func allRoutes(t *testing.T, h *Handle) []Route {
	t.Helper()
	out, err := h.Routes(t.Context())
	must(t, err)
	// The kernel adds link-local ones in its own time.
	return slices.DeleteFunc(out, func(r Route) bool { return r.Dst.Addr().IsLinkLocalUnicast() })
}

func TestSetRoutesSpares(t *testing.T) {
	h := routed(t)
	must(t, h.SetRoutes(t.Context(), routes("0.0.0.0/0 via 10.0.0.1 dev eth0", "10.5.0.0/16 via 10.0.0.9 dev eth0", "10.7.0.0/16 dev eth1"), nil))
	spare := func(r Route) bool { return r.Dev == "eth0" }
	want := routes("0.0.0.0/0 via 10.1.0.1 dev eth1", "10.6.0.0/16 dev eth1")
	must(t, h.SetRoutes(t.Context(), want, spare))
	if diffs, err := h.CheckRoutes(t.Context(), want, spare); err != nil || len(diffs) > 0 {
		t.Errorf("%v\n%s", err, lines(diffs))
	}
	now := routes("0.0.0.0/0 via 10.0.0.1 dev eth0", "10.5.0.0/16 via 10.0.0.9 dev eth0", "10.6.0.0/16 dev eth1")
	if diffs, err := h.CheckRoutes(t.Context(), now, nil); err != nil || len(diffs) > 0 {
		t.Errorf("%v\n%s", err, lines(diffs))
	}
	must(t, h.SetRoutes(t.Context(), want, nil))
	if diffs, err := h.CheckRoutes(t.Context(), want, nil); err != nil || len(diffs) > 0 {
		t.Errorf("when nothing is spared: %v\n%s", err, lines(diffs))
	}
}

func TestSetRoutesNeverTouchesForeignRoutes(t *testing.T) {
	h := routed(t)
	must(t, h.use(t.Context(), func(c *conn) error {
		return c.RouteAdd(&netlink.Route{Dst: addr("10.77.0.0/16").IPNet, Gw: netip.MustParseAddr("10.0.0.7").AsSlice()})
	}))
	err := h.SetRoutes(t.Context(), routes("10.77.0.0/16 via 10.0.0.1 dev eth0"), nil)
	if !errors.Is(err, errdefs.ErrExists) || !strings.Contains(err.Error(), "10.77.0.0/16") {
		t.Errorf("the same destination: %v, want ErrExists that names it", err)
	}
	must(t, h.SetRoutes(t.Context(), nil, nil))
	if have := fmt.Sprint(allRoutes(t, h)); !strings.Contains(have, "10.77.0.0/16 via 10.0.0.7 dev eth0") {
		t.Errorf("the foreign route is gone: %s", have)
	}
}

func TestSetRoutesRefusesBadInput(t *testing.T) {
	h := routed(t)
	bad := map[string][]Route{
		"host bits":  routes("10.5.0.1/16 dev eth0"),
		"family":     routes("10.5.0.0/16 via fd00::1 dev eth0"),
		"interface":  routes("10.5.0.0/16 via 10.0.0.1 dev eth+"),
		"twice":      routes("0.0.0.0/0 via 10.0.0.1 dev eth0", "0.0.0.0/0 via 10.1.0.1 dev eth1"),
		"no network": {{Dev: "eth0"}},
	}
	for name, want := range bad {
		if err := h.SetRoutes(t.Context(), want, nil); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if err := h.SetRoutes(t.Context(), routes("0.0.0.0/0 via 172.31.0.1 dev eth0"), nil); !errors.Is(err, errdefs.ErrInvalid) {
		t.Errorf("next hop that is not on the link: %v, want ErrInvalid", err)
	}
	if err := h.SetRoutes(t.Context(), routes("0.0.0.0/0 via 10.0.0.1 dev eth9"), nil); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent interface: %v, want ErrNotFound", err)
	}
}

func TestDefaultRouteAddrAndMTUOf(t *testing.T) {
	h := routed(t)
	if _, _, err := h.DefaultRouteAddr(t.Context()); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("without a default route: %v, want ErrNotFound", err)
	}
	must(t, h.use(t.Context(), func(c *conn) error {
		l, err := c.LinkByName("eth1")
		return errors.Join(err, c.LinkSetMTU(l, 1380))
	}))
	for _, step := range []struct{ route, addr string }{
		{"::/0 via fd00:1::1 dev eth1", "fd00:1::2"},
		{"0.0.0.0/0 via 10.1.0.1 dev eth1", "10.1.0.2"},
	} {
		must(t, h.SetRoutes(t.Context(), routes(step.route), nil))
		a, mtu, err := h.DefaultRouteAddr(t.Context())
		if err != nil || a.String() != step.addr || mtu != 1380 {
			t.Errorf("%s: %s, %d, %v; want %s, 1380", step.route, a, mtu, err, step.addr)
		}
		if mtu, err = h.MTUOf(t.Context(), a); err != nil || mtu != 1380 {
			t.Errorf("MTU of %s: %d, %v", a, mtu, err)
		}
	}
	if _, err := h.MTUOf(t.Context(), netip.MustParseAddr("192.0.2.1")); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("MTU of nobody's address: %v, want ErrNotFound", err)
	}
}
