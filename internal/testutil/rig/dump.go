package rig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
)

// DumpLinks renders the fences between networks, and the host's links that are a driver's by their name or alias, without carrier, which comes in its own
// time, the MAC of a veth, which is the kernel's choice, and links that Open vSwitch has made: on netdev it is tuntap.
func DumpLinks(t testutil.TB) []string {
	t.Helper()
	h, err := netlink.NewHandle()
	Must(t, err)
	defer h.Close()
	all, err := link.Complete(h.LinkList)
	Must(t, err)
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []string
	for _, l := range all {
		a := l.Attrs()
		ours := strings.HasPrefix(a.Name, "cnm") || strings.HasPrefix(a.Alias, "libcnm:")
		if !ours || strings.HasPrefix(a.Alias, bystander) || l.Type() == "tuntap" || l.Type() == "openvswitch" {
			continue
		}
		mac := a.HardwareAddr.String()
		if l.Type() == "veth" {
			mac = ""
		}
		flags := strings.NewReplacer("|running", "", "|promiscuous", "").Replace(a.Flags.String())
		out = append(out, fmt.Sprintf("link %s %s alias %s mtu %d %s master %s %s", a.Name, l.Type(), a.Alias, a.MTU, flags, names[a.MasterIndex], mac))
		addrs, err := link.Complete(func() ([]netlink.Addr, error) { return h.AddrList(l, netlink.FAMILY_ALL) })
		Must(t, err)
		for _, addr := range addrs {
			if addr.IP.To4() != nil || !addr.IP.IsLinkLocalUnicast() {
				out = append(out, fmt.Sprintf("address %s %s", a.Name, addr.IPNet))
			}
		}
	}
	return append(out, dumpFences(t)...)
}

// dumpFences renders what keeps the drivers' networks apart in the host's routing.
func dumpFences(t testutil.TB) []string {
	t.Helper()
	h, err := link.Open(nil)
	Must(t, err)
	fences, err := h.Fences(context.WithoutCancel(t.Context())) // also in cleanups
	Must(t, errors.Join(err, h.Close()))
	var out []string
	for _, f := range fences {
		out = append(out, f.String())
	}
	return out
}

// DumpSandboxes renders the links in the given namespaces. Those that do not exist have none.
func DumpSandboxes(t testutil.TB, paths ...string) []string {
	t.Helper()
	var out []string
	for number, path := range paths {
		ns, err := link.OpenNS(path)
		if err != nil {
			continue // deleted
		}
		Must(t, ns.Do(func() error {
			links, err := link.Complete(netlink.LinkList)
			for _, l := range links {
				if a := l.Attrs(); a.Name != "lo" {
					out = append(out, fmt.Sprintf("sandbox %d link %s %s mtu %d", number, a.Name, a.HardwareAddr, a.MTU))
				}
			}
			return err
		}))
		Must(t, ns.Close())
	}
	return out
}

// DumpRules renders the chains and rules of ours, without counters.
func DumpRules(t testutil.TB) []string {
	t.Helper()
	programs := []string{"iptables-save", "ip6tables-save"}
	texts, err := Outputs(exec.Command(programs[0]), exec.Command(programs[1]))
	Must(t, err)
	seen := map[string]bool{}
	for i, program := range programs {
		table := ""
		for line := range strings.Lines(texts[i]) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "*") {
				table = line
			}
			if strings.Contains(line, "CNM-") {
				line, _, _ = strings.Cut(line, " [") // counters
				seen[program+" "+table+" "+line] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Outputs runs programs at the same time and returns what each writes.
func Outputs(programs ...*exec.Cmd) ([]string, error) {
	texts := make([]string, len(programs))
	var group errgroup.Group
	for i, p := range programs {
		group.Go(func() error {
			out, err := p.Output()
			if err != nil {
				return fmt.Errorf("%q: %w", p.Args, err)
			}
			texts[i] = string(out)
			return nil
		})
	}
	return texts, group.Wait()
}
