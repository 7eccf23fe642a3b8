package steps

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// The library's default directories.
const (
	runDir  = "/run/libcnm"
	dataDir = "/var/lib/libcnm"
)

// eyes look at the host of this process.
type eyes struct {
	ovs  bool
	etcd *clientv3.Client // nil: the local store
}

func (e eyes) look(ctx context.Context) (picture, error) {
	p := picture{}
	var rules []string
	var ovs picture
	var group errgroup.Group
	group.Go(func() (err error) {
		rules, err = rig.Outputs(exec.CommandContext(ctx, "iptables-save"), exec.CommandContext(ctx, "ip6tables-save"))
		return err
	})
	group.Go(func() (err error) {
		if e.ovs {
			ovs, err = lookAtSwitch(ctx)
		}
		return err
	})
	// Not from the goroutine of a step, which may be in a sandbox.
	group.Go(func() error { return errors.Join(p.files(runDir), p.files(dataDir), p.namespaces()) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	maps.Copy(p, ovs)
	p.lines("IPv4 rules", rules[0])
	p.lines("IPv6 rules", rules[1])
	if e.etcd != nil {
		resp, err := e.etcd.Get(ctx, "revision")
		if err != nil {
			return nil, err
		}
		p["etcd"] = fmt.Sprint("revision ", resp.Header.Revision)
	}
	return p, nil
}

// query asks for the columns of Open vSwitch's database that others than ovs-vswitchd write.
const query = `["Open_vSwitch",
{"op":"select","table":"Open_vSwitch","where":[],"columns":["next_cfg","external_ids","other_config","bridges"]},
{"op":"select","table":"Bridge","where":[],"columns":["_uuid","name","datapath_type","fail_mode","external_ids","other_config","ports"]},
{"op":"select","table":"Port","where":[],"columns":["_uuid","name","external_ids","other_config","interfaces","tag"]},
{"op":"select","table":"Interface","where":[],"columns":["_uuid","name","type","options","external_ids","other_config","ofport_request","mac"]}]`

// lookAtSwitch takes rows, flows and groups.
func lookAtSwitch(ctx context.Context) (picture, error) {
	out, err := exec.CommandContext(ctx, "ovsdb-client", "query", query).Output()
	if err != nil {
		return nil, err
	}
	p := picture{}
	var tables []struct {
		Rows []map[string]json.RawMessage `json:"rows"`
	}
	if err := json.Unmarshal(out, &tables); err != nil {
		return nil, err
	}
	for number, table := range tables {
		for _, row := range table.Rows {
			state, err := json.Marshal(row) // sorted
			if err != nil {
				return nil, err
			}
			p[fmt.Sprintf("row of table %d %s", number, row["_uuid"])] = string(state)
		}
	}
	if !strings.Contains(string(out), `"cnm-int"`) {
		return p, nil
	}
	for _, what := range []string{"dump-flows", "dump-groups", "get-frags"} {
		out, err := exec.CommandContext(ctx, "ovs-ofctl", "-O", "OpenFlow15", "--no-stats", what, "cnm-int").Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			continue // in the database, and not made yet
		}
		if err != nil {
			return nil, err
		}
		p.lines(what, unimportant.ReplaceAllString(string(out), ""))
	}
	return p, nil
}

// unimportant are the title of a list of groups, and the fragment mode of a bridge that has just been made.
var unimportant = regexp.MustCompile(`(?m)^(.*\(xid=.*|normal)$`)

// counters and times change by themselves.
var counters = regexp.MustCompile(`\[\d+:\d+\]`)

// lines takes a program's output, whose order means nothing but that of rules within their chain.
func (p picture) lines(source, text string) {
	number := map[string]int{}
	table := ""
	for line := range strings.Lines(text) {
		line = counters.ReplaceAllString(strings.TrimSpace(line), "")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "*") {
			table = line
		}
		chain := ""
		if rest, ok := strings.CutPrefix(line, "-A "); ok {
			chain, _, _ = strings.Cut(rest, " ")
		}
		if chain == "" {
			p[source+" "+table+" "+line] = "present"
			continue
		}
		number[table+chain]++
		p[fmt.Sprintf("%s %s %s %d", source, table, chain, number[table+chain])] = line
	}
}

// files takes a directory, with what each file is and contains.
func (p picture) files(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		state := info.Mode().String()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			state += fmt.Sprintf(" links %d inode %d:%d", st.Nlink, st.Dev, st.Ino)
		}
		if info.Mode().IsRegular() && info.Size() > 0 { // a mounted namespace is empty
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			state += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		p["file "+path] = state
		return nil
	})
}

// namespaces takes the host's interfaces and those of the sandboxes.
func (p picture) namespaces() error {
	if err := p.namespace("host"); err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(runDir, "netns", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		ns, err := link.OpenNS(path)
		if err != nil {
			continue // not yet mounted, or no more
		}
		err = errors.Join(ns.Do(func() error { return p.namespace(filepath.Base(path)) }), ns.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

func (p picture) namespace(name string) error {
	p.sysctls(name, "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
	links, err := link.Complete(netlink.LinkList)
	if err != nil {
		return err
	}
	names := map[int]string{}
	for _, l := range links {
		if l.Type() == "tuntap" { // made by Open vSwitch, in its own time
			continue
		}
		a := l.Attrs()
		names[a.Index] = a.Name
		p[fmt.Sprintf("link %s %s %d", name, a.Name, a.Index)] = fmt.Sprintf("%s alias %s group %d mtu %d up %t master %d mac %s",
			l.Type(), a.Alias, a.Group, a.MTU, a.Flags&1 != 0, a.MasterIndex, a.HardwareAddr)
		p.sysctls(name, "net/ipv4/conf/"+a.Name+"/arp_notify", "net/ipv4/conf/"+a.Name+"/forwarding", "net/ipv6/conf/"+a.Name+"/disable_ipv6",
			"net/ipv6/conf/"+a.Name+"/accept_ra", "net/ipv6/conf/"+a.Name+"/accept_dad", "net/ipv6/conf/"+a.Name+"/ndisc_notify")
	}
	addrs, err := link.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if dev := names[a.LinkIndex]; dev != "" && !a.IP.IsLinkLocalUnicast() {
			p["address "+name+" "+dev+" "+a.IPNet.String()] = "present"
		}
	}
	routes, err := link.Complete(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Protocol != 2 { // the kernel's own come and go with addresses and carriers
			p["route "+name+" "+r.String()] = "present"
		}
	}
	return nil
}

// sysctls takes those that exist in the calling thread's namespace.
func (p picture) sysctls(name string, keys ...string) {
	for _, key := range keys {
		if value, err := os.ReadFile("/proc/sys/" + key); err == nil {
			p["sysctl "+name+" "+key] = strings.TrimSpace(string(value))
		}
	}
}
