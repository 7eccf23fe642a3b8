package libcnm_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
)

var fixtures atomic.Int32

// fixture is where successive controllers of one node keep their things.
type fixture struct {
	dir  string
	host *drivertest.FakeHost
	opts []libcnm.Option
}

// newFixture makes a node with a fake driver "fake" of local scope and one "fakenet" of cluster scope.
func newFixture(t *testing.T, node string, more ...libcnm.Option) *fixture {
	t.Helper()
	serial := fixtures.Add(1)
	underlay := netip.AddrFrom4([4]byte{192, 0, byte(serial >> 8), byte(serial)})
	testutil.HomeNS(t).AddAddr(t, "lo", netip.PrefixFrom(underlay, 32))
	f := &fixture{dir: t.TempDir(), host: drivertest.NewFakeHost()}
	f.opts = append([]libcnm.Option{
		libcnm.WithDataDir(filepath.Join(f.dir, "data")),
		libcnm.WithRunDir(filepath.Join(f.dir, "run")),
		libcnm.WithNode(node, underlay),
	}, more...)
	return f
}

// open starts a controller on the fixture's directories.
func (f *fixture) open(t *testing.T, more ...libcnm.Option) *libcnm.NetworkController {
	t.Helper()
	c, err := f.tryOpen(t, more...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (f *fixture) tryOpen(t *testing.T, more ...libcnm.Option) (*libcnm.NetworkController, error) {
	t.Helper()
	log, _ := testutil.NewLogs(t)
	opts := append([]libcnm.Option{libcnm.WithLogger(log)}, f.opts...)
	opts = append(opts,
		libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{Host: f.host})}),
		libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{Host: f.host, Info: fakenet})}),
	)
	c, err := libcnm.New(t.Context(), append(opts, more...)...)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	return c, err
}

var fakenet = drivers.Info{
	Name: "fakenet", Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true,
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// linkless is a fake driver as the controller sees it: its host is memory, so there is no interface to configure.
type linkless struct{ drivers.Driver }

func (l linkless) Unwrap() drivers.Driver { return l.Driver }

func (l linkless) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	made, err := l.Driver.ApplyEndpoint(ctx, ep)
	made.Interface = ""
	return made, err
}

// meeting is a driver whose ApplyEndpoint returns when as many calls are in it as both waits for.
type meeting struct {
	drivers.Driver
	both *sync.WaitGroup
}

func (m *meeting) Unwrap() drivers.Driver { return m.Driver }

func (m *meeting) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	m.both.Done()
	m.both.Wait()
	return m.Driver.ApplyEndpoint(ctx, ep)
}

// dump renders everything that a call may change: the records, the host, and the files.
func (f *fixture) dump(t *testing.T, c *libcnm.NetworkController) string {
	t.Helper()
	var b strings.Builder
	networks, err := c.Networks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		fmt.Fprintln(&b, "network", n.ID(), n.Name(), n.Driver(), n.VNI(), n.Subnets())
		eps, err := n.Endpoints(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, ep := range eps {
			fmt.Fprintf(&b, "endpoint %s %s %+v\n", ep.ID(), ep.Name(), ep.Info())
		}
	}
	for _, sb := range c.Sandboxes() {
		fmt.Fprintln(&b, "sandbox", sb.ID(), sb.ContainerID(), sb.Key(), len(sb.Endpoints()))
	}
	fmt.Fprintln(&b, f.host.Dump("fake"), f.host.Dump("fakenet"))
	err = filepath.WalkDir(f.dir, func(path string, _ fs.DirEntry, err error) error {
		fmt.Fprintln(&b, "file", path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// noStore is a store that is never called.
type noStore struct{ store.Store }
