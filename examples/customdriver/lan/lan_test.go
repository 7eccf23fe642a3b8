package lan_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/examples/customdriver/lan"
	"github.com/libcnm/libcnm/internal/testutil"
)

// testutil puts the whole test binary into namespaces of its own. An outside author has it no more than internal/link
// and runs the tests under "unshare -Urnm --mount-proc".
func TestMain(m *testing.M) { testutil.Main(m) }

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(tb testing.TB) drivertest.Host {
		h := &host{tb: tb}
		return drivertest.Host{
			Open:       func() (drivers.Driver, error) { return lan.New(), nil },
			NewSandbox: h.newSandbox,
			Dump:       h.dump,
			Bystander:  h.bystander,
			Damage: []drivertest.Damage{
				{Name: "port deleted", Break: func(drivers.NetworkState) { h.ip("link", "delete", h.find("lanp")) }},
				{Name: "MTU of the port changed", Break: func(drivers.NetworkState) { h.ip("link", "set", h.find("lanp"), "mtu", "1400") }},
				{Name: "MTU of the bridge changed", Break: func(drivers.NetworkState) { h.ip("link", "set", h.find("lanb"), "mtu", "1400") }},
				{Name: "port taken out", Break: func(drivers.NetworkState) { h.ip("link", "set", h.find("lanp"), "nomaster") }},
				{Name: "port down", Break: func(drivers.NetworkState) { h.ip("link", "set", h.find("lanp"), "down") }},
				{Name: "interface renamed", Break: func(s drivers.NetworkState) {
					netns, ifname := filepath.Base(s.Endpoints[0].NetNS), s.Endpoints[0].Interface
					h.ip("-n", netns, "link", "set", ifname, "name", "stolen")
				}},
				{Name: "bridge down", Break: func(drivers.NetworkState) { h.ip("link", "set", h.find("lanb"), "down") }},
				{Name: "bridge deleted", Break: func(drivers.NetworkState) { h.ip("link", "delete", h.find("lanb")) }},
			},
		}
	})
}

// host is the namespace the tests run in.
type host struct {
	tb        testing.TB
	sandboxes []string
}

func (h *host) ip(args ...string) string {
	h.tb.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		h.tb.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h *host) newSandbox() drivertest.Sandbox {
	h.tb.Helper()
	name := fmt.Sprintf("sandbox%d", len(h.sandboxes))
	h.ip("netns", "add", name)
	path := filepath.Join("/run/netns", name)
	h.sandboxes = append(h.sandboxes, name)
	remove := func() {
		if _, err := os.Stat(path); err == nil {
			h.ip("netns", "delete", name)
		}
	}
	h.tb.Cleanup(remove)
	return drivertest.Sandbox{NetNS: path, Delete: remove}
}

// find returns the host's first link whose name starts so.
func (h *host) find(prefix string) string {
	h.tb.Helper()
	for _, l := range h.links() {
		if strings.HasPrefix(l.Attrs().Name, prefix) {
			return l.Attrs().Name
		}
	}
	h.tb.Fatalf("no link %s*", prefix)
	return ""
}

func (h *host) links() []netlink.Link {
	h.tb.Helper()
	list, err := netlink.LinkList()
	if err != nil {
		h.tb.Fatalf("list links: %v", err)
	}
	return list
}

// dump shows the driver's links, and whatever else is in the sandboxes: nobody but the driver puts anything there.
func (h *host) dump() string {
	h.tb.Helper()
	list := h.links()
	names := map[int]string{0: "no bridge"}
	for _, l := range list {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var lines []string
	for _, l := range list {
		a := l.Attrs()
		if a.Group != 0x6c616e {
			continue
		}
		state := a.Flags.String()
		state, _, _ = strings.Cut(state, "|")
		lines = append(lines, fmt.Sprintf("%s %s: %s, MTU %d, in %s, alias %s\n", l.Type(), a.Name, state, a.MTU, names[a.MasterIndex], a.Alias))
		if l.Type() == "bridge" {
			ipv6, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + a.Name + "/disable_ipv6")
			if err != nil {
				h.tb.Fatalf("read sysctl: %v", err)
			}
			lines = append(lines, fmt.Sprintf("bridge %s: disable_ipv6=%s", a.Name, ipv6))
		}
	}
	for _, name := range h.sandboxes {
		if _, err := os.Stat(filepath.Join("/run/netns", name)); err != nil {
			continue
		}
		for line := range strings.Lines(h.ip("-n", name, "-o", "link", "show", "type", "veth")) {
			// 2: eth0@if7: <flags> mtu 1500 ... link/ether 02:42:.. brd ff:.. link-netnsid 0
			f := strings.Fields(line)
			ifname, _, _ := strings.Cut(f[1], "@")
			ether := slices.Index(f, "link/ether")
			lines = append(lines, fmt.Sprintf("sandbox %s: %s %s, mtu %s\n", name, ifname, f[ether+1], f[slices.Index(f, "mtu")+1]))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// bystander makes a bridge and a port that differ from the driver's only in their mark.
func (h *host) bystander() func() string {
	h.tb.Helper()
	h.ip("link", "add", "lanb0123456789a", "type", "bridge")
	h.ip("link", "add", "lanp0123456789a", "type", "veth", "peer", "name", "theirs")
	h.ip("link", "set", "lanp0123456789a", "master", "lanb0123456789a", "alias", "lan:0123456789a")
	h.tb.Cleanup(func() {
		h.ip("link", "delete", "lanp0123456789a")
		h.ip("link", "delete", "lanb0123456789a")
	})
	return func() string {
		return h.ip("-o", "link", "show", "lanb0123456789a") + h.ip("-o", "link", "show", "lanp0123456789a")
	}
}
