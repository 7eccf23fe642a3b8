package libcnm_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/local"
)

// frail is one more driver on the fixture's host, that fails while broken is set.
func frail(f *fixture, scope drivers.Scope, broken *atomic.Bool) libcnm.Option {
	return libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{
		Host: f.host, Info: drivers.Info{Name: "frail", Scope: scope, Addressing: true, Overlap: true},
		Fault: func(string) error {
			if broken.Load() {
				return fmt.Errorf("broken on purpose: %w", drivers.ErrUnavailable)
			}
			return nil
		},
	})})
}

// TestOneDriverCannotStart: New serves the others, says which one fails, and repairs it when it is back.
func TestOneDriverCannotStart(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	var broken atomic.Bool
	c := f.open(t, frail(f, drivers.ScopeLocal, &broken))
	web := newNetwork(t, c, "web")
	fragile, err := c.NewNetwork(ctx, "frail", "fragile")
	must(t, err)
	sb, err := c.NewSandbox(ctx, "container1")
	must(t, err)
	must(t, newEndpoint(t, web, "a").Join(ctx, sb))
	must(t, newEndpoint(t, fragile, "b").Join(ctx, sb))
	late := newEndpoint(t, fragile, "late")
	before := f.host.Dump("frail")
	must(t, c.Close())

	broken.Store(true)
	log, logs := testutil.NewLogs(t)
	f.host.Lose("reboot of the switch")
	c = f.open(t, frail(f, drivers.ScopeLocal, &broken), libcnm.WithLogger(log))
	must(t, logs.Contains("level=ERROR", "driver=frail", "broken on purpose"))
	sb = lookup(t, c, "container1")
	if dump := f.host.Dump("fake"); !strings.Contains(dump, "endpoint") {
		t.Errorf("the driver that works was not restored:\n%s", dump)
	}
	if why := c.Stats().Unusable["frail"]; !strings.Contains(why, "broken on purpose") {
		t.Errorf("Stats().Unusable = %v", c.Stats().Unusable)
	}
	drift, err := c.Check(ctx)
	must(t, err)
	for _, object := range []string{"driver frail", "interface eth1 of container container1"} {
		if !slices.ContainsFunc(drift, func(d libcnm.Drift) bool { return d.Object == object && d.Driver == "frail" }) {
			t.Errorf("Check does not name %q: %v", object, drift)
		}
	}
	n, err := c.NetworkByName(ctx, "fragile")
	must(t, err)
	again, err := n.EndpointByName(ctx, "late")
	must(t, err)
	wantErr(t, again.Join(ctx, sb), libcnm.ErrUnavailable, "frail", "broken on purpose")
	wantErr(t, second(c.NewNetwork(ctx, "frail", "other")), libcnm.ErrUnavailable, "frail")
	must(t, newEndpoint(t, mustNetwork(t, c, "web"), "c").Join(ctx, sb))

	broken.Store(false)
	start := time.Now()
	testutil.Eventually(t, settle, func() error {
		if after := f.host.Dump("frail"); after != before || len(c.Stats().Unusable) > 0 {
			return fmt.Errorf("unusable: %v, host has\n%s\nwant\n%s", c.Stats().Unusable, after, before)
		}
		return nil
	})
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("repaired after %v", took)
	}
	testutil.Eventually(t, settle, func() error {
		drift, err := c.Check(ctx)
		if err == nil && len(drift) > 0 {
			err = fmt.Errorf("differences: %v", drift)
		}
		return err
	})
	must(t, again.Join(ctx, sb))
	if again.ID() != late.ID() {
		t.Errorf("another endpoint")
	}
	must(t, sb.Delete(ctx))
}

// TestEveryDriverCannotStart: then too New succeeds, and everything comes by itself. Peers that change meanwhile are told.
func TestEveryDriverCannotStart(t *testing.T) {
	ctx := t.Context()
	shared := newFaulty(t)
	var broken [2]atomic.Bool
	var fs []*fixture
	var cs []*libcnm.NetworkController
	for i := range broken {
		f := newFixture(t, fmt.Sprint("node", i+1), libcnm.WithStore(shared))
		fs, cs = append(fs, f), append(cs, f.open(t, frail(f, drivers.ScopeCluster, &broken[i])))
	}
	must(t, second(cs[0].NewNetwork(ctx, "frail", "blue")))
	sb, err := cs[0].NewSandbox(ctx, "container1")
	must(t, err)
	a := newEndpoint(t, mustNetwork(t, cs[0], "blue"), "a")
	must(t, a.Join(ctx, sb))
	must(t, cs[0].Close())
	broken[0].Store(true)
	fs[0].host.Lose("reboot of the switch")
	c := fs[0].open(t, frail(fs[0], drivers.ScopeCluster, &broken[0]))
	b := newEndpoint(t, mustNetwork(t, cs[1], "blue"), "b")
	must(t, b.Join(ctx, newSandbox(t, cs[1], "container2")))
	broken[0].Store(false)
	testutil.Eventually(t, settle, func() error {
		dump := fs[0].host.Dump("frail")
		if !strings.Contains(dump, "endpoint "+a.ID()+" interface") || !strings.Contains(dump, "peer "+b.ID()) {
			return fmt.Errorf("host has\n%s", dump)
		}
		return nil
	})
	must(t, lookup(t, c, "container1").Delete(ctx))
}

// picky refuses the peers of a node for good, as ovs-vxlan does those whose tunnel address is of another family.
type picky struct {
	drivers.Driver
	told atomic.Int32
}

func (p *picky) Unwrap() drivers.Driver { return p.Driver }

var errPicky = fmt.Errorf("refused on purpose: %w", drivers.ErrInvalid)

func (p *picky) ApplyPeers(ctx context.Context, n drivers.NetworkID, u drivers.PeerUpdate) error {
	p.told.Add(1)
	applier, _ := drivers.As[drivers.PeerApplier](p.Driver)
	if err := applier.ApplyPeers(ctx, n, u); err != nil {
		return err
	}
	return errPicky
}

func (p *picky) Sync(ctx context.Context, want []drivers.NetworkState) error {
	if err := p.Driver.Sync(ctx, want); err != nil || len(want) == 0 {
		return err
	}
	return errPicky
}

func (p *picky) Check(ctx context.Context, want []drivers.NetworkState) ([]drivers.Drift, error) {
	found, err := p.Driver.Check(ctx, want)
	if len(want) > 0 {
		found = append(found, drivers.Drift{Driver: "picky", Object: "peer x", Want: "applied", Have: errPicky.Error()})
	}
	return found, err
}

// TestPeersRefusedForGood: a join succeeds all the same, the driver is not told again and again, New succeeds, and Check
// names it.
func TestPeersRefusedForGood(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1", libcnm.WithStore(newFaulty(t)), libcnm.WithCheckInterval(100*time.Millisecond))
	newPicky := func() *picky {
		return &picky{Driver: linkless{drivertest.NewFake(drivertest.FakeConfig{
			Host: f.host, Info: drivers.Info{Name: "picky", Scope: drivers.ScopeCluster, Addressing: true, Overlap: true},
		})}}
	}
	log, logs := testutil.NewLogs(t)
	p := newPicky()
	c := f.open(t, libcnm.WithDriver(p), libcnm.WithLogger(log))
	n, err := c.NewNetwork(ctx, "picky", "blue")
	must(t, err)
	sb, err := c.NewSandbox(ctx, "container1")
	must(t, err)
	must(t, newEndpoint(t, n, "a").Join(ctx, sb))
	must(t, logs.Contains("level=WARN", "refused on purpose", "network=blue"))
	rounds := c.Stats().Rounds
	testutil.Eventually(t, settle, func() error { // many looks
		if now := c.Stats().Rounds; now < rounds+12 {
			return fmt.Errorf("%d rounds", now-rounds)
		}
		return nil
	})
	if told := p.told.Load(); told > 2 {
		t.Errorf("the driver was told %d times of what it refuses", told)
	}
	if s := c.Stats(); s.Repairs != 0 || s.Failures != 0 {
		t.Errorf("counted as repaired: %+v", s)
	}
	if n := strings.Count(logs.String(), "cannot be repaired"); n != 1 {
		t.Errorf("said %d times that it cannot be repaired", n)
	}
	must(t, c.Close())

	c = f.open(t, libcnm.WithDriver(newPicky()))
	drift, err := c.Check(ctx)
	must(t, err)
	if len(drift) != 1 || !strings.Contains(drift[0].Have, "refused on purpose") {
		t.Errorf("Check says %v", drift)
	}
	if s := c.Stats(); len(s.Unusable) > 0 {
		t.Errorf("unusable: %v", s.Unusable)
	}
	must(t, newEndpoint(t, mustNetwork(t, c, "blue"), "b").Join(ctx, lookup(t, c, "container1")))
	must(t, lookup(t, c, "container1").Delete(ctx))
}

// alone is a driver of cluster scope that wants to know of no peers.
type alone struct{ drivers.Driver }

// TestDeletedElsewhereWithoutPeers: an endpoint of a driver without peers is deleted by force on another node.
func TestDeletedElsewhereWithoutPeers(t *testing.T) {
	ctx := t.Context()
	shared := newFaulty(t)
	var cs []*libcnm.NetworkController
	var fs []*fixture
	for i := range 2 {
		f := newFixture(t, fmt.Sprint("node", i+1), libcnm.WithStore(shared))
		fake := linkless{drivertest.NewFake(drivertest.FakeConfig{
			Host: f.host, Info: drivers.Info{Name: "alone", Scope: drivers.ScopeCluster, Addressing: true, Overlap: true},
		})}
		fs, cs = append(fs, f), append(cs, f.open(t, libcnm.WithDriver(alone{fake})))
	}
	n, err := cs[0].NewNetwork(ctx, "alone", "blue")
	must(t, err)
	sb := newSandbox(t, cs[0], "container1")
	must(t, newEndpoint(t, n, "a").Join(ctx, sb))
	remote, err := mustNetwork(t, cs[1], "blue").EndpointByName(ctx, "a")
	must(t, err)
	must(t, remote.Delete(ctx, libcnm.WithForce()))
	testutil.Eventually(t, settle, func() error {
		if dump := fs[0].host.Dump("alone"); dump != "" || len(sb.Endpoints()) > 0 {
			return fmt.Errorf("sandbox has %d endpoints, host\n%s", len(sb.Endpoints()), dump)
		}
		return nil
	})
}

// spoil overwrites a record of a local store that no controller has open.
func spoil(t *testing.T, f *fixture, key, value string) {
	t.Helper()
	db, err := local.Open(t.Context(), filepath.Join(f.dir, "data", "libcnm.db"))
	must(t, err)
	must(t, second(db.Commit(t.Context(), nil, store.Put(key, []byte(value)))))
	must(t, db.Close())
}

// TestOneRecordCannotBeRead: the others work, the record is named, and it is never rewritten.
func TestOneRecordCannotBeRead(t *testing.T) {
	for name, garbage := range map[string]string{"garbage": "\x00\xff{", "empty": "", "no version": "{}", "of another shape": `{"v":2,"id":7}`} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			f := newFixture(t, "node1")
			c := f.open(t)
			web, spare := newNetwork(t, c, "web"), newNetwork(t, c, "spare")
			sb, err := c.NewSandbox(ctx, "container1")
			must(t, err)
			bad, good := newEndpoint(t, web, "bad"), newEndpoint(t, web, "good")
			must(t, bad.Join(ctx, sb))
			must(t, good.Join(ctx, sb))
			must(t, c.Close())
			keys := []string{"endpoints/" + web.ID() + "/" + bad.ID(), "networks/" + spare.ID()}
			for _, key := range keys {
				spoil(t, f, key, garbage)
			}
			log, logs := testutil.NewLogs(t)
			c = f.open(t, libcnm.WithLogger(log))
			for _, key := range keys {
				must(t, logs.Contains("level=ERROR", "key="+key))
			}
			drift, err := c.Check(ctx)
			must(t, err)
			for i, key := range slices.Sorted(slices.Values(keys)) {
				if len(drift) != 2 || drift[i].Object != "record "+key {
					t.Errorf("Check says %v", drift)
				}
			}
			n := mustNetwork(t, c, "web")
			eps, err := n.Endpoints(ctx)
			must(t, err)
			if len(eps) != 1 || eps[0].ID() != good.ID() {
				t.Errorf("endpoints %v", eps)
			}
			networks, err := c.Networks(ctx)
			must(t, err)
			if len(networks) != 1 {
				t.Errorf("%d networks", len(networks))
			}
			sb = lookup(t, c, "container1")
			if joined := sb.Endpoints(); len(joined) != 1 || joined[0].ID() != good.ID() {
				t.Errorf("joined: %v", joined)
			}
			wantErr(t, second(n.EndpointByName(ctx, "bad")), libcnm.ErrInvalid, bad.ID())
			must(t, newEndpoint(t, n, "new").Join(ctx, sb))
			wantErr(t, n.Delete(ctx), libcnm.ErrInUse, bad.ID())
			must(t, sb.Delete(ctx))
			must(t, c.Close())
			db, err := local.Open(ctx, filepath.Join(f.dir, "data", "libcnm.db"))
			must(t, err)
			for _, key := range append(keys, "members/node1/"+web.ID()+"/"+bad.ID()) {
				raw, err := db.Get(ctx, key)
				must(t, err)
				if !strings.HasPrefix(key, "members/") && string(raw.Value) != garbage {
					t.Errorf("%s was rewritten to %q", key, raw.Value)
				}
			}
			must(t, db.Close())
		})
	}
}

// TestRecordIsSpoilt: a record of the cluster becomes garbage while nodes use it. What it was about goes on as before.
func TestRecordIsSpoilt(t *testing.T) {
	ctx := t.Context()
	cs, fs, shared, eps := newLeasedNodes(t, 2)
	key := "endpoints/" + eps[0].Network().ID() + "/" + eps[0].ID()
	whole, err := shared.Get(ctx, key)
	must(t, err)
	put := func(key, value string) {
		t.Helper()
		must(t, second(shared.Commit(ctx, nil, store.Put(key, []byte(value)))))
	}
	put(key, "garbage")
	put("nodes/node9", "garbage")
	named := func(object string, want bool) {
		t.Helper()
		for i, c := range cs {
			testutil.Eventually(t, settle, func() error {
				drift, err := c.Check(ctx)
				if has := strings.Contains(fmt.Sprint(drift), object); err == nil && has != want {
					err = fmt.Errorf("node%d: Check says %v", i+1, drift)
				}
				return err
			})
		}
	}
	named("record "+key, true)
	named("record nodes/node9", true)
	if n := nodeInfo(t, cs[0], "node9"); !n.Alive {
		t.Errorf("node whose record cannot be read: %+v", n)
	}
	shared.resume(t) // they list again
	hostHas(t, fs[0], true, "endpoint", eps[0].ID())
	hostHas(t, fs[1], true, "peer", eps[0].ID())
	late := newEndpoint(t, mustNetwork(t, cs[0], "blue"), "late")
	must(t, late.Join(ctx, newSandbox(t, cs[0], "late")))
	hostHas(t, fs[1], true, "peer", late.ID())

	shared.end(t, "node1")
	err = cs[1].Release(ctx, "node1")
	wantErr(t, err, libcnm.ErrInvalid, eps[0].ID())
	hostHas(t, fs[1], false, late.ID()) // the others are freed all the same
	if raw, err := shared.Get(ctx, key); err != nil || string(raw.Value) != "garbage" {
		t.Errorf("the record is %q, %v", raw.Value, err)
	}
	put(key, string(whole.Value))
	named("record "+key, false)
	must(t, cs[1].Release(ctx, "node1"))
}
