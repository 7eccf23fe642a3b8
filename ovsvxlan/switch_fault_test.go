package ovsvxlan_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// pair is two endpoints that reach each other.
func pair(t *testing.T) (*host, *ovsvxlan.Switch, *testutil.NS) {
	t.Helper()
	r := newHost(t)
	s := r.open(t)
	a := r.device(t, attached(1, 2))
	r.device(t, attached(1, 3))
	apply(t, s, state(1, 2, 3))
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	reach(t, a, addr4(3), addr6(3))
	return r, s, a
}

// answers waits for n more answers.
func answers(t *testing.T, p *testutil.Pinger, n int) {
	t.Helper()
	before := p.Stats().Received
	testutil.Eventually(t, 10*time.Second, func() error {
		if got := p.Stats().Received - before; got < n {
			return fmt.Errorf("%d answers, want %d", got, n)
		}
		return nil
	})
}

// A restarted ovs-vswitchd has no flows. They come back at once and without being asked for.
func TestVswitchdRestart(t *testing.T) {
	r, s, a := pair(t)
	flows := r.flows(t)
	pinger := testutil.StartPinger(t, a, addr4(3), 10*time.Millisecond)
	answers(t, pinger, 10)
	r.ovs.KillVswitchd(t)
	killed := time.Now()
	r.ovs.StartVswitchd(t)
	if reason := event(t, s); !strings.Contains(reason, "cnm-int") {
		t.Errorf("event %q does not name the bridge", reason)
	}
	restored := time.Since(killed)
	answers(t, pinger, 10)
	reach(t, a, addr6(3))
	stats, err := pinger.Stop()
	if err != nil {
		t.Error(err)
	}
	t.Logf("flows back after %v; %v", restored.Round(time.Millisecond), stats)
	if stats.Longest > 2*time.Second {
		t.Errorf("traffic stood still for %v", stats.Longest)
	}
	if now := r.flows(t); now != flows {
		t.Errorf("flows were\n%s\nand are\n%s", flows, now)
	}
	same(t, s, state(1, 2, 3))
}

// While ovs-vswitchd is away changes fail in bounded time; when it is back they succeed.
func TestVswitchdAway(t *testing.T) {
	r, s, a := pair(t)
	b := r.device(t, attached(1, 4))
	r.ovs.KillVswitchd(t)
	start := time.Now()
	wantErr(t, s.ApplyEndpoint(t.Context(), attached(1, 4)), errdefs.ErrUnavailable)
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("it took %v to fail", took)
	}
	r.ovs.StartVswitchd(t)
	if err := s.ApplyEndpoint(t.Context(), attached(1, 4)); err != nil {
		t.Fatal(err)
	}
	reach(t, a, addr4(4), addr6(4))
	reach(t, b, addr4(2), addr6(2))
}

func TestOVSDBRestart(t *testing.T) {
	r, s, a := pair(t)
	r.ovs.KillOVSDB(t)
	testutil.Eventually(t, 5*time.Second, func() error {
		if err := s.ApplyEndpoint(t.Context(), attached(1, 2)); !errors.Is(err, errdefs.ErrUnavailable) {
			return fmt.Errorf("without a database: %w", err)
		}
		return nil
	})
	r.ovs.StartOVSDB(t)
	b := r.device(t, attached(1, 4))
	// ovs-vswitchd itself takes up to eight seconds to find its database again.
	testutil.Eventually(t, 20*time.Second, func() error { return s.ApplyEndpoint(t.Context(), attached(1, 4)) })
	reach(t, a, addr4(4), addr6(4), addr4(3), addr6(3))
	reach(t, b, addr4(2))
	same(t, s, state(1, 2, 3, 4))
}

// What somebody removes behind the switch's back is reported by event and Check, and repaired by Sync, while the rest
// of the traffic goes on.
func TestDamage(t *testing.T) {
	r, s, a := pair(t)
	bystander := r.device(t, attached(2, 2))
	r.device(t, attached(2, 3))
	want := []ovsvxlan.State{state(1, 2, 3), state(2, 2, 3)}
	apply(t, s, want...)
	pinger := testutil.StartPinger(t, bystander, addr4(3), 10*time.Millisecond)
	mgmt := r.ovs.RunDir() + "/cnm-int.mgmt"
	for _, c := range []struct {
		name   string
		damage func()
		event  bool
		named  string
	}{
		{"port", func() { r.ovs.Vsctl(t, "del-port", "cnm-int", attached(1, 3).Interface) }, true, "port " + attached(1, 3).Interface},
		{"port settings", func() {
			r.ovs.Vsctl(t, "remove", "interface", attached(1, 3).Interface, "external_ids", "libcnm-endpoint")
		}, false, "libcnm-endpoint"},
		{"flow", func() {
			r.ovs.Ofctl(t, "--strict", "del-flows", mgmt, "table=100,priority=100,reg0=1,dl_dst="+macOf(3).String())
		}, false, "table=forward"},
		{"foreign flow", func() { r.ovs.Ofctl(t, "add-flow", mgmt, "table=0,priority=9999,in_port=16,actions=normal") }, false, "table=classify"},
		{"flows of a network", func() { r.ovs.Ofctl(t, "del-groups", mgmt, "group_id=6") }, false, "group 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.damage()
			if c.event {
				event(t, s)
			}
			diffs, err := s.Check(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			if text := fmt.Sprint(diffs); !strings.Contains(text, c.named) {
				t.Errorf("check says %q, and does not name %q", text, c.named)
			}
			if err := s.Sync(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			same(t, s, want...)
			reachSoon(t, a, addr4(3), addr6(3))
		})
	}
	stats, err := pinger.Stop()
	if err != nil || stats.Received != stats.Sent {
		t.Errorf("the other network's traffic suffered: %v, %v", stats, err)
	}
	// These stop everyone's traffic.
	r.ovs.Vsctl(t, "set-fail-mode", "cnm-int", "standalone")
	event(t, s)
	if diffs, err := s.Check(t.Context(), want); err != nil || !strings.Contains(fmt.Sprint(diffs), "fail_mode") {
		t.Errorf("check says %v, %v, and does not name fail_mode", diffs, err)
	}
	sync(t, s, want...)
	reachSoon(t, a, addr4(3), addr6(3))
	r.ovs.Vsctl(t, "del-br", "cnm-int")
	event(t, s)
	sync(t, s, want...)
	reachSoon(t, a, addr4(3), addr6(3))
}

// sync makes the switch equal to want and checks that it is.
func sync(t *testing.T, s *ovsvxlan.Switch, want ...ovsvxlan.State) {
	t.Helper()
	if err := s.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same(t, s, want...)
}

// A new process continues where a dead one stopped: same numbers, no interruption, and what is no longer wanted goes.
func TestNextProcess(t *testing.T) {
	r, s, a := pair(t)
	apply(t, s, state(2), state(3))
	r.device(t, attached(2, 9))
	apply(t, s, state(2, 9))
	if err := s.RemoveNetwork(t.Context(), id(1+1)); err != nil {
		t.Fatal(err)
	}
	r.device(t, attached(3, 9))
	apply(t, s, state(3, 9))
	flows := r.flows(t)
	rows := r.dump(t)
	pinger := testutil.StartPinger(t, a, addr4(3), 10*time.Millisecond)
	s.Close()

	next := r.open(t)
	want := []ovsvxlan.State{state(3, 9), state(1, 2, 3)}
	if found, err := next.Check(t.Context(), want); err != nil || len(found) > 0 {
		t.Errorf("before the first Sync: %v, %v; want no difference", found, err)
	}
	if err := next.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if now := r.flows(t); now != flows {
		t.Errorf("flows were\n%s\nand are\n%s", flows, now)
	}
	if now := r.dump(t); now != rows {
		t.Errorf("the switch was\n%s\nand is\n%s", rows, now)
	}
	if err := next.Sync(t.Context(), []ovsvxlan.State{state(1, 2, 3)}); err != nil {
		t.Fatal(err)
	}
	same(t, next, state(1, 2, 3))
	if ports := r.ovs.Vsctl(t, "list-ports", "cnm-int"); strings.Contains(ports, attached(3, 9).Interface) {
		t.Errorf("an orphan stays: %q", ports)
	}
	if stats, err := pinger.Stop(); err != nil || stats.Received != stats.Sent {
		t.Errorf("traffic suffered: %v, %v", stats, err)
	}
	if err := next.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if bridges := r.ovs.Vsctl(t, "list-br"); bridges != "br-phy\n" {
		t.Errorf("bridges %q after the last network", bridges)
	}
}
