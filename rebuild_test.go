package libcnm_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
)

// spoil writes nonsense over the local store and, with journal, over its second copy.
func (f *fixture) spoil(t *testing.T, journal bool) {
	t.Helper()
	path := filepath.Join(f.dir, "data", "libcnm.db")
	must(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	if journal {
		must(t, os.WriteFile(path+".journal", []byte("nonsense\n"), 0o600))
	}
}

// TestRebuild: New refuses a damaged local store, and brings everything back when it may rebuild it.
func TestRebuild(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	ep := newEndpoint(t, newNetwork(t, c, "web"), "a")
	must(t, ep.Join(ctx, newSandbox(t, c, "container1")))
	before := f.host.Dump("fake")
	must(t, c.Close())
	f.spoil(t, false)
	_, err := f.tryOpen(t)
	wantErr(t, err, libcnm.ErrUnavailable, "libcnm.db", "damaged")
	c = f.open(t, libcnm.WithRebuild())
	sb := lookup(t, c, "container1")
	if list := sb.Endpoints(); len(list) != 1 || list[0].ID() != ep.ID() {
		t.Errorf("after the rebuild the sandbox has %v", list)
	}
	if after := f.host.Dump("fake"); after != before {
		t.Errorf("the host changed:\n%s\nbefore:\n%s", after, before)
	}
	must(t, sb.Delete(ctx))
	must(t, c.Close())
	f.open(t, libcnm.WithRebuild()) // of a store that is whole does nothing
}

// TestRebuildWithoutJournal: what only the local store knew is removed from the host, in the end also when the first New
// that tries dies; the node keeps its name, and its endpoints are free to join.
func TestRebuildWithoutJournal(t *testing.T) {
	ctx := t.Context()
	cs, fs, shared := newFaultyNodes(t, 1)
	f := fs[0]
	ep := newEndpoint(t, clusterNetwork(t, cs[0], "blue"), "a")
	must(t, ep.Join(ctx, newSandbox(t, cs[0], "container1")))
	must(t, newEndpoint(t, newNetwork(t, cs[0], "web"), "b").Join(ctx, lookup(t, cs[0], "container1")))
	must(t, cs[0].Close())
	f.spoil(t, true)

	dying, die := context.WithCancel(ctx)
	shared.afterList("members/", die)
	opts := append([]libcnm.Option{
		libcnm.WithRebuild(),
		libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{Host: f.host})}),
		libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{Host: f.host, Info: fakenet})}),
	}, f.opts...)
	_, err := libcnm.New(dying, opts...)
	wantErr(t, err, context.Canceled)

	c := f.open(t) // the store is whole now; that the host is not clean was not forgotten
	for _, driver := range []string{"fake", "fakenet"} {
		if left := f.host.Dump(driver); left != "" {
			t.Errorf("left of driver %s:\n%s", driver, left)
		}
	}
	if left := c.Sandboxes(); len(left) > 0 {
		t.Errorf("sandboxes: %v", left)
	}
	again, err := mustNetwork(t, c, "blue").EndpointByName(ctx, "a")
	must(t, err)
	must(t, again.Join(ctx, newSandbox(t, c, "container1")))
	_, err = c.NetworkByName(ctx, "web")
	wantErr(t, err, libcnm.ErrNotFound)
}

// TestRebuildTakesNoOthersName: only a node of the same name and underlay address is the one that lost its data.
func TestRebuildTakesNoOthersName(t *testing.T) {
	_, _, shared := newFaultyNodes(t, 1)
	other := newFixture(t, "node1", libcnm.WithStore(shared))
	_, err := other.tryOpen(t, libcnm.WithRebuild())
	wantErr(t, err, libcnm.ErrInUse, "node1")
}

// TestRebuildSaysWhatItDoes looks at the log.
func TestRebuildSaysWhatItDoes(t *testing.T) {
	f := newFixture(t, "node1")
	must(t, f.open(t).Close())
	f.spoil(t, false)
	log, lines := testutil.NewLogs(t)
	f.open(t, libcnm.WithRebuild(), libcnm.WithLogger(log))
	must(t, lines.Contains("local store was rebuilt", "libcnm.db.damaged-", "journal=true"))
	if strings.Contains(lines.String(), "is removed") {
		t.Errorf("something was removed:\n%s", lines)
	}
}
