package link

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Interface is how an interface that exists already should be, in a sandbox for instance.
type Interface struct {
	Name string
	MTU  int // bytes; 0: left alone
	// Addrs are its addresses, exactly, but for IPv6 link-local ones, which are left alone. Without an IPv6 address IPv6 is
	// disabled on the interface, so that nothing can be reached by link-local addresses nobody asked for.
	Addrs []netip.Prefix
	Up    bool // false: left as it is
	// NeighbourRetry is the time between two questions for the MAC of a neighbour, a multiple of 20 ms; 0: left as it is. It
	// is asked for as long as the kernel does by default.
	NeighbourRetry time.Duration
	// Sysctls below net. to set before it is up, over the defaults: disable_ipv6 as said above, accept_ra=0 so that
	// nobody on the segment can offer himself as router, and accept_dad=0, because addresses are given once and
	// looking for duplicates holds up the link-local one for two seconds.
	Sysctls map[string]string
}

func (i Interface) validate() error {
	err := errors.Join(CheckName(i.Name), checkMTU(i.Name, i.MTU), checkAddresses(i.Name, i.Addrs))
	if r := i.NeighbourRetry; r < 0 || r > solicitFor || r%neighbourTick != 0 {
		err = errors.Join(err, fmt.Errorf("interface %s: %s between questions for a neighbour is no multiple of %s up to %s: %w",
			i.Name, r, neighbourTick, solicitFor, errdefs.ErrInvalid))
	}
	for key, value := range i.Sysctls {
		err = errors.Join(err, CheckSysctl(key, value))
	}
	return err
}

// sysctls are the defaults with i's own over them, keyed by file so that two spellings of a key are one.
func (i Interface) sysctls(l Link) (map[string]string, error) {
	out := map[string]string{}
	ipv6 := l.conf.v6.told || hasIPv6()
	if ipv6 {
		off := "1"
		if hasFamily6(i.Addrs) {
			off = "0"
			out[confKey("ipv6", i.Name, "accept_ra")] = "0"
			out[confKey("ipv6", i.Name, "accept_dad")] = "0"
		}
		out[confKey("ipv6", i.Name, "disable_ipv6")] = off
	}
	maps.Copy(out, i.neighbours(ipv6))
	for key, value := range i.Sysctls {
		path, err := sysctlPath(key)
		if err != nil {
			return nil, err
		}
		out[path[len(sysctlRoot):]] = value
	}
	return out, nil
}

// solicitFor is how long the kernel asks for a neighbour that does not answer: three times, a second apart.
const solicitFor = 3 * time.Second

// neighbourTick can be set exactly, and reads back as it was set, whatever the kernel's HZ: 100, 250, 300 or 1,000.
const neighbourTick = 20 * time.Millisecond

func (i Interface) neighbours(ipv6 bool) map[string]string {
	out := make(map[string]string)
	if i.NeighbourRetry == 0 {
		return out
	}
	families := []string{"ipv4"}
	if ipv6 && hasFamily6(i.Addrs) {
		families = append(families, "ipv6")
	}
	for _, family := range families {
		dir := "net/" + family + "/neigh/" + i.Name + "/"
		out[dir+"retrans_time_ms"] = strconv.FormatInt(i.NeighbourRetry.Milliseconds(), 10)
		out[dir+"mcast_solicit"] = strconv.FormatInt(int64(solicitFor/i.NeighbourRetry), 10)
	}
	return out
}

// Configure makes an existing interface as i says. Absent, it is ErrNotFound. Nothing is changed that is right already.
func (h *Handle) Configure(ctx context.Context, i Interface) error {
	if err := i.validate(); err != nil {
		return err
	}
	return h.use(ctx, func(c *conn) error {
		l, err := c.link(i.Name)
		if err != nil {
			return err
		}
		if l, err = c.setMTU(l, i.MTU); err != nil {
			return err
		}
		sysctls, err := i.sysctls(l)
		if err != nil {
			return err
		}
		if len(l.untold(sysctls)) > 0 { // then all of them, because one may set another
			if err := h.inside(func() error { return writeSysctls(sysctls) }); err != nil {
				return err
			}
		}
		var first []change
		if i.Up && !l.Up {
			first = append(first, newChange("raise interface", i.Name, unix.RTM_SETLINK, 0, headerUp(l.Index, true)))
		}
		return c.setAddresses(l, i.Addrs, first...)
	})
}

// setMTU comes before sysctls and addresses: below 1280 bytes an interface has no IPv6 to set them on. It returns the link as
// it is then.
func (c *conn) setMTU(l Link, mtu int) (Link, error) {
	if mtu == 0 || mtu == l.MTU {
		return l, nil
	}
	set := newChange("set MTU of", l.Name, unix.RTM_SETLINK, 0, header(l.Index), attr32(unix.IFLA_MTU, uint32(mtu)))
	if err := c.changes.apply(set); err != nil {
		return l, err
	}
	return c.link(l.Name)
}

// CheckInterface names every way in which the interface is not as i says. It changes nothing.
func (h *Handle) CheckInterface(ctx context.Context, i Interface) ([]Difference, error) {
	if err := i.validate(); err != nil {
		return nil, err
	}
	var d differences
	err := h.use(ctx, func(c *conn) error {
		l, err := c.link(i.Name)
		if errors.Is(err, errdefs.ErrNotFound) {
			d.add("link "+i.Name, "present", "")
			return nil
		}
		if err != nil {
			return err
		}
		if i.Up {
			d.state("link "+i.Name, true, l.Up)
		}
		if i.MTU != 0 {
			d.number("link "+i.Name+" mtu", i.MTU, l.MTU)
		}
		have, err := c.addresses(l.Index)
		if err != nil {
			return opError("list addresses of", i.Name, err)
		}
		d.addresses(i.Name, have, i.Addrs)
		sysctls, err := i.sysctls(l)
		if err != nil {
			return err
		}
		if sysctls = l.untold(sysctls); len(sysctls) == 0 {
			return nil
		}
		return h.inside(func() error { return d.sysctls(sysctls) })
	})
	return d, err
}

func (d *differences) sysctls(want map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		have, err := readSysctl(key)
		if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
			return fmt.Errorf("check: %w", err)
		}
		d.text("sysctl "+key, want[key], have)
	}
	return nil
}
