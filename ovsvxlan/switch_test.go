package ovsvxlan_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

func apply(t *testing.T, s *ovsvxlan.Switch, states ...ovsvxlan.State) {
	t.Helper()
	for _, st := range states {
		if err := s.ApplyNetwork(t.Context(), st.Network); err != nil {
			t.Fatal(err)
		}
		for _, e := range st.Endpoints {
			if err := s.ApplyEndpoint(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// wantErr checks the class of an error and that its text names the things given.
func wantErr(t *testing.T, err, class error, parts ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got error %v, want class %q", err, class)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not name %q", err, p)
		}
	}
}

func TestEndpointsReachEachOther(t *testing.T) {
	testutil.NoLeaks(t)
	r := newHost(t)
	s := r.open(t)
	a, b := r.device(t, attached(1, 2)), r.device(t, attached(1, 3))
	apply(t, s, state(1, 2, 3))
	same(t, s, state(1, 2, 3))
	if flows := r.flows(t); !strings.Contains(flows, "fragments "+ovsvxlan.FragmentMode) {
		t.Errorf("the fragment mode is not %s:\n%s", ovsvxlan.FragmentMode, flows)
	}
	reach(t, a, addr4(3), addr6(3), addr4(1), addr6(1))
	reach(t, b, addr4(2), addr6(2))
	for _, to := range []netip.Addr{addr4(3), addr6(3)} {
		if err := testutil.TryTCP(t.Context(), a, testutil.StartEcho(t, b, netip.AddrPortFrom(to, 0))); err != nil {
			t.Error(err)
		}
	}
}

// Two networks with one subnet and the same addresses and MACs stay apart.
func TestNetworksAreApart(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	a2, a3 := r.device(t, attached(1, 2)), r.device(t, attached(1, 3))
	b2, b4 := r.device(t, attached(2, 2)), r.device(t, attached(2, 4))
	apply(t, s, state(1, 2, 3), state(2, 2, 4))
	reach(t, a2, addr4(3), addr6(3))
	reach(t, b2, addr4(4), addr6(4))
	noReach(t, a3, addr4(4), addr6(4))
	noReach(t, b4, addr4(3), addr6(3))
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	r.device(t, attached(1, 2))
	apply(t, s, state(1, 2))
	before := r.dump(t)
	transactions, bundles := s.Commits()
	apply(t, s, state(1, 2))
	if err := s.Sync(t.Context(), []ovsvxlan.State{state(1, 2)}); err != nil {
		t.Fatal(err)
	}
	if x, b := s.Commits(); x != transactions || b != bundles {
		t.Errorf("repetition cost %d transactions and %d bundles, want none", x-transactions, b-bundles)
	}
	if after := r.dump(t); after != before {
		t.Errorf("repetition changed the switch from\n%s\nto\n%s", before, after)
	}
}

// Removing everything leaves the database as it was, and removing the absent succeeds.
func TestRemove(t *testing.T) {
	r := newHost(t)
	before := r.dump(t)
	s := r.open(t)
	a, b := r.device(t, attached(1, 2)), r.device(t, attached(1, 3))
	apply(t, s, state(1, 2, 3), state(2))
	for range 2 {
		if err := s.RemoveEndpoint(t.Context(), id(1), attached(1, 3).ID); err != nil {
			t.Fatal(err)
		}
	}
	same(t, s, state(1, 2), state(2))
	noReach(t, a, addr4(3), addr6(3))
	noReach(t, b, addr4(2), addr6(2))
	for range 2 {
		for n := 1; n <= 2; n++ {
			if err := s.RemoveNetwork(t.Context(), id(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	same(t, s)
	if after := r.dump(t); after != before {
		t.Errorf("the switch was\n%s\nand is\n%s", before, after)
	}
	apply(t, s, state(1, 2, 3))
	reachSoon(t, a, addr4(3)) // the pings above left entries that say unreachable
}

// A removal that was cut short before its last step is completed by the next.
func TestRemoveAgain(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	clean := r.dump(t)
	apply(t, s, state(1))
	if err := s.Forget(id(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveNetwork(t.Context(), id(1)); err != nil {
		t.Fatal(err)
	}
	if now := r.dump(t); now != clean {
		t.Errorf("left:\n%s\nbefore:\n%s", now, clean)
	}
}

func TestConcurrentEndpointsShareCommits(t *testing.T) {
	const hosts = 50
	r := newHost(t)
	s := r.open(t)
	apply(t, s, state(1))
	for h := 2; h < 2+hosts; h++ {
		r.device(t, attached(1, h))
	}
	transactions, bundles := s.Commits()
	start := time.Now()
	var group errgroup.Group
	for h := 2; h < 2+hosts; h++ {
		group.Go(func() error { return s.ApplyEndpoint(t.Context(), attached(1, h)) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	x, b := s.Commits()
	if x, b = x-transactions, b-bundles; x > 10 || b > 10 {
		t.Errorf("%d endpoints cost %d transactions and %d bundles", hosts, x, b)
	}
	t.Logf("%d endpoints in %v: %d transactions, %d bundles", hosts, took.Round(time.Millisecond), x, b)
	all := state(1)
	for h := 2; h < 2+hosts; h++ {
		all.Endpoints = append(all.Endpoints, attached(1, h))
	}
	same(t, s, all)
}

func TestOpenWithoutOVS(t *testing.T) {
	testutil.NoLeaks(t)
	start := time.Now()
	_, err := ovsvxlan.Open(t.Context(), ovsvxlan.Config{OVSDB: "unix:/run/nowhere/db.sock", VTEP: rigVTEP})
	wantErr(t, err, errdefs.ErrUnavailable, "unix:/run/nowhere/db.sock")
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  ovsvxlan.Config
		says string
	}{
		{"no VTEP", ovsvxlan.Config{}, "tunnel address"},
		{"multicast VTEP", ovsvxlan.Config{VTEP: netip.MustParseAddr("239.0.0.1")}, "239.0.0.1"},
		{"remote database", ovsvxlan.Config{VTEP: rigVTEP, OVSDB: "tcp:127.0.0.1:6640"}, "tcp:127.0.0.1:6640"},
		{"relative path", ovsvxlan.Config{VTEP: rigVTEP, OVSDB: "unix:db.sock"}, "unix:db.sock"},
		{"wildcard bridge", ovsvxlan.Config{VTEP: rigVTEP, Bridge: "cnm+"}, "cnm+"},
		{"long bridge", ovsvxlan.Config{VTEP: rigVTEP, Bridge: "cnm-internal-1"}, "cnm-internal-1"},
		{"unknown datapath", ovsvxlan.Config{VTEP: rigVTEP, Datapath: "dpdk"}, "dpdk"},
		{"gateway without MAC", ovsvxlan.Config{VTEP: rigVTEP, Gateway: ovsvxlan.Gateway{Interface: "gw"}}, "MAC"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ovsvxlan.Open(t.Context(), c.cfg)
			wantErr(t, err, errdefs.ErrInvalid, c.says)
		})
	}
}

// Invalid input is refused before anything changes.
func TestInvalidInput(t *testing.T) {
	r := newHost(t)
	s := r.open(t)
	r.device(t, attached(1, 2))
	apply(t, s, state(1, 2))
	before := r.dump(t)
	outside := attached(1, 3)
	outside.Addrs = []netip.Addr{netip.MustParseAddr("10.9.0.1")}
	shell := attached(1, 3)
	shell.Interface = "$(id)"
	taken := attached(1, 3)
	taken.Interface = attached(1, 2).Interface
	orphan := attached(9, 3)
	sameVNI := overlay(7)
	sameVNI.VNI = 1
	peer := ovsvxlan.Peer{ID: id(99), Network: id(1), MAC: macOf(9), Addrs: []netip.Addr{addr4(9)}, VTEP: netip.IPv4Unspecified()}
	for _, c := range []struct {
		name  string
		do    func() error
		class error
		says  string
	}{
		{"address outside", func() error { return s.ApplyEndpoint(t.Context(), outside) }, errdefs.ErrInvalid, "10.9.0.1"},
		{"device name", func() error { return s.ApplyEndpoint(t.Context(), shell) }, errdefs.ErrInvalid, "$(id)"},
		{"device taken", func() error { return s.ApplyEndpoint(t.Context(), taken) }, errdefs.ErrConflict, taken.Interface},
		{"no network", func() error { return s.ApplyEndpoint(t.Context(), orphan) }, errdefs.ErrNotFound, id(9)},
		{"VNI taken", func() error { return s.ApplyNetwork(t.Context(), sameVNI) }, errdefs.ErrConflict, id(1)},
		{"peer without VTEP", func() error {
			return s.ApplyPeers(t.Context(), id(1), ovsvxlan.PeerUpdate{Set: []ovsvxlan.Peer{peer}})
		}, errdefs.ErrInvalid, "0.0.0.0"},
	} {
		t.Run(c.name, func(t *testing.T) { wantErr(t, c.do(), c.class, c.says) })
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, s.ApplyEndpoint(cancelled, attached(1, 3)), context.Canceled)
	wantErr(t, s.Sync(cancelled, nil), context.Canceled)
	if after := r.dump(t); after != before {
		t.Errorf("refused calls changed the switch from\n%s\nto\n%s", before, after)
	}
	s.Close()
	wantErr(t, s.ApplyNetwork(t.Context(), overlay(1)), errdefs.ErrClosed)
	wantErr(t, s.Sync(t.Context(), nil), errdefs.ErrClosed)
	if after := r.dump(t); after != before {
		t.Error("closing changed the switch")
	}
}
