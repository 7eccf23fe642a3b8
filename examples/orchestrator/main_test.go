package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/child"
)

func TestMain(m *testing.M) { child.Main(m, main, testutil.NeedEtcd()) }

// replica is what the orchestrator said of one.
type replica struct {
	name  string
	pid   int
	addrs string
}

var runsLine = regexp.MustCompile(`^(web-\d+) runs as process (\d+) at (\[.*\])$`)

// started reads the lines of n replicas that start, in whatever order.
func started(t *testing.T, p *child.Process, n int) map[string]replica {
	t.Helper()
	list := map[string]replica{}
	for range n {
		line := p.Line("runs as process")
		m := runsLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("line %q", line)
		}
		pid, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		list[m[1]] = replica{m[1], pid, m[3]}
	}
	return list
}

func (r replica) alive() bool { return syscall.Kill(r.pid, 0) == nil }

func (r replica) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s: %v", r.name, err)
	}
}

// netns is the replica's namespace. Its process begins in the host's, which has no eth0.
func (r replica) netns(t *testing.T) (ns *testutil.NS) {
	t.Helper()
	testutil.Eventually(t, 10*time.Second, func() error {
		ns = testutil.OpenNS(t, fmt.Sprintf("/proc/%d/ns/net", r.pid))
		_, err := ns.Netlink().LinkByName("eth0")
		return err
	})
	return ns
}

func (r replica) addresses(t *testing.T) []netip.Addr {
	t.Helper()
	var list []netip.Addr
	for s := range strings.FieldsSeq(strings.Trim(r.addrs, "[]")) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p.Addr())
	}
	return list
}

// reach pings a replica at all its addresses from another.
func reach(t *testing.T, from, to replica) {
	t.Helper()
	for _, addr := range to.addresses(t) {
		if _, err := testutil.Ping(t.Context(), from.netns(t), addr); err != nil {
			t.Errorf("%s does not reach %s at %s: %v", from.name, to.name, addr, err)
		}
	}
}

func newHost(t *testing.T) *testutil.Host {
	t.Helper()
	return testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true}).Hosts[0]
}

func links(t *testing.T, h *testutil.Host) string {
	t.Helper()
	return h.Run(t, "ip", "-o", "link", "show", "type", "bridge") + h.Run(t, "ip", "-o", "link", "show", "type", "veth")
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	before := links(t, h)
	start := func(replicas int) *child.Process {
		t.Helper()
		return child.Start(t, h, "-replicas", fmt.Sprint(replicas), "--", "sleep", "infinity")
	}
	p := start(3)
	p.Line("web has 0 sandboxes")
	all := started(t, p, 3)
	reach(t, all["web-0"], all["web-1"])
	reach(t, all["web-0"], all["web-2"])

	t.Run("one dies", func(t *testing.T) {
		all["web-2"].kill(t)
		p.Line("web-2 ended: signal: killed")
		again := started(t, p, 1)["web-2"]
		if again.addrs != all["web-2"].addrs {
			t.Errorf("was %+v, is %+v", all["web-2"], again)
		}
		all["web-2"] = again
		reach(t, all["web-0"], again)
	})
	t.Run("the orchestrator is killed", func(t *testing.T) {
		addrs := all["web-1"].addresses(t)
		pings := []*testutil.Pinger{
			testutil.StartPinger(t, all["web-0"].netns(t), addrs[0], 20*time.Millisecond),
			testutil.StartPinger(t, all["web-0"].netns(t), addrs[1], 20*time.Millisecond),
		}
		p.Kill()
		all["web-2"].kill(t) // nobody is there to see it
		p = start(4)
		p.Line("web has 3 sandboxes")
		fresh := started(t, p, 2)
		if got := fresh["web-2"]; got.addrs != all["web-2"].addrs {
			t.Errorf("replica that died unseen: was %+v, is %+v", all["web-2"], got)
		}
		all["web-2"], all["web-3"] = fresh["web-2"], fresh["web-3"]
		reach(t, all["web-0"], all["web-3"])
		for _, ping := range pings {
			if stats, err := ping.Stop(); err != nil || stats.Received != stats.Sent {
				t.Errorf("pings while the orchestrator was away: %s, %v", stats, err)
			}
		}
		// One that this process has not started itself.
		all["web-1"].kill(t)
		all["web-1"] = started(t, p, 1)["web-1"]
		reach(t, all["web-0"], all["web-1"])
	})
	t.Run("fewer", func(t *testing.T) {
		p.Interrupt()
		p.Exit(0)
		p = start(2)
		given := []string{p.Line("gave up"), p.Line("gave up")}
		slices.Sort(given)
		if want := []string{"web-2 gave up " + all["web-2"].addrs, "web-3 gave up " + all["web-3"].addrs}; !slices.Equal(given, want) {
			t.Errorf("printed %q, want %q", given, want)
		}
		for name, want := range map[string]bool{"web-0": true, "web-1": true, "web-2": false, "web-3": false} {
			testutil.Eventually(t, 10*time.Second, func() error { // a killed process takes a moment to end
				if got := all[name].alive(); got != want {
					return fmt.Errorf("%s alive: %v, want %v", name, got, want)
				}
				return nil
			})
		}
		reach(t, all["web-0"], all["web-1"])
	})
	t.Run("none", func(t *testing.T) {
		p.Interrupt()
		p.Exit(0)
		p = start(0)
		p.Exit(0)
		if after := links(t, h); after != before {
			t.Errorf("links before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// A full subnet keeps the other replicas from nothing.
func TestNoAddressLeft(t *testing.T) {
	t.Parallel()
	p := child.Start(t, newHost(t), "-replicas", "7", "-subnet", "10.9.0.0/29", "-subnet", "fd09::/64", "--", "sleep", "infinity")
	started(t, p, 5) // 8 addresses less network, broadcast and gateway
	p.Line("try again", "create endpoint web-", "10.9.0.0/29", "exhausted")
}

// A command that ends at once is restarted, but not as fast as the host can.
func TestCommandThatEnds(t *testing.T) {
	t.Parallel()
	p := child.Start(t, newHost(t), "-replicas", "1", "--", "true")
	var addrs string
	for range 3 {
		r := started(t, p, 1)["web-0"]
		if addrs != "" && r.addrs != addrs {
			t.Errorf("addresses change from %s to %s", addrs, r.addrs)
		}
		addrs = r.addrs
		p.Line("web-0 ended: <nil>")
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for want, args := range map[string][]string{
		"no command to run":          {"-replicas", "1"},
		"driver bridges":             {"-driver", "bridges", "--", "true"},
		"10.9.0.1/24":                {"-subnet", "10.9.0.1/24", "--", "true"},
		"etcd configuration without": {"-etcd", ",", "--", "true"},
		"container ID":               {"-fleet", "a;b", "--", "true"},
		"network name a/b":           {"-network", "a/b", "--", "true"},
	} {
		p := child.Start(t, h, args...)
		p.Line(want)
		p.Exit(1)
	}
}

// While etcd is away replicas run, and one that dies waits for it to return.
func TestEtcdAway(t *testing.T) {
	t.Parallel()
	rig := testutil.NewHosts(t, 1, testutil.HostsOptions{EtcdMembers: 1})
	h := rig.Hosts[0]
	rig.Etcd.Kill(0)
	p := child.Start(t, h, "-driver", "ovs-vxlan", "-etcd", rig.Etcd.Endpoints()[0], "-replicas", "2", "--", "sleep", "infinity")
	p.Line("try again", "new controller", "unavailable")
	rig.Etcd.Start()
	all := started(t, p, 2)
	reach(t, all["web-0"], all["web-1"])

	rig.Etcd.Kill(0)
	all["web-1"].kill(t)
	p.Line("try again", "unavailable")
	if !all["web-0"].alive() {
		t.Error("web-0 has ended")
	}
	rig.Etcd.Start()
	all["web-1"] = started(t, p, 1)["web-1"]
	reach(t, all["web-0"], all["web-1"])
}
