package input

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store/local"
)

// taken is the name of every object that exists from the beginning.
const taken = "taken"

// world is a controller with one object of every kind, and all the places where something hostile could turn up.
type world struct {
	dir  string
	opts []libcnm.Option
	host *drivertest.FakeHost
	fake drivers.Driver
	spy  *spy // the cluster's store

	c      *libcnm.NetworkController
	net    *libcnm.Network
	joined *libcnm.Endpoint
	sb     *libcnm.Sandbox
}

var worlds atomic.Int32

// newWorld makes a node with a fake driver for networks of the cluster. Nothing happens in it that was not called for.
func newWorld(t *testing.T, more ...libcnm.Option) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir(), more...)
}

func newWorldIn(t *testing.T, dir string, more ...libcnm.Option) *world {
	t.Helper()
	cluster, err := local.Open(t.Context(), filepath.Join(dir, "cluster"))
	must(t, err)
	t.Cleanup(func() { must(t, cluster.Close()) })
	return newWorldOn(t, dir, newSpy(cluster), more...)
}

func newWorldOn(t *testing.T, dir string, cluster *spy, more ...libcnm.Option) *world {
	t.Helper()
	serial := worlds.Add(1)
	underlay := netip.AddrFrom4([4]byte{192, 0, byte(serial >> 8), byte(serial)})
	testutil.HomeNS(t).AddAddr(t, "lo", netip.PrefixFrom(underlay, 32))
	w := &world{dir: dir, host: drivertest.NewFakeHost(), spy: cluster}
	t.Cleanup(func() { w.removeNamespaces(t) })
	w.fake = drivertest.NewFake(drivertest.FakeConfig{})
	w.opts = append([]libcnm.Option{
		libcnm.WithDataDir(filepath.Join(w.dir, "data")), libcnm.WithRunDir(filepath.Join(w.dir, "run")),
		libcnm.WithNode("node1", underlay), libcnm.WithStore(w.spy), libcnm.WithCheckInterval(time.Hour),
	}, more...)
	w.open(t)
	var err error
	w.net, err = w.c.NewNetwork(t.Context(), "fakenet", taken, libcnm.WithSubnet(netip.MustParsePrefix("fd01::/64")))
	must(t, err)
	w.joined, err = w.net.CreateEndpoint(t.Context(), taken)
	must(t, err)
	w.sb, err = w.c.NewSandbox(t.Context(), taken)
	must(t, err)
	must(t, w.joined.Join(t.Context(), w.sb))
	return w
}

// removeNamespaces lets the world's directory be removed.
func (w *world) removeNamespaces(t *testing.T) {
	left, err := filepath.Glob(filepath.Join(w.dir, "run", "netns", "*"))
	must(t, err)
	for _, path := range left {
		must(t, link.DeleteNS(path))
	}
}

// open starts a controller where the one before it has ended.
func (w *world) open(t *testing.T) {
	t.Helper()
	log, _ := testutil.NewLogs(t)
	info := drivers.Info{Name: "fakenet", Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true}
	fake := linkless{drivertest.NewFake(drivertest.FakeConfig{Host: w.host, Info: info})}
	c, err := libcnm.New(t.Context(), append(slices.Clone(w.opts), libcnm.WithDriver(fake), libcnm.WithLogger(log))...)
	must(t, err)
	w.c = c
	t.Cleanup(func() { must(t, c.Close()) })
}

// reopen ends the controller and starts another.
func (w *world) reopen(t *testing.T) {
	t.Helper()
	must(t, w.c.Close())
	w.open(t)
}

// linkless is a fake driver as the controller sees it: its host is memory, so there is no interface to configure.
type linkless struct{ drivers.Driver }

func (l linkless) Unwrap() drivers.Driver { return l.Driver }

func (l linkless) ApplyEndpoint(ctx context.Context, ep drivers.Endpoint) (drivers.Attachment, error) {
	made, err := l.Driver.ApplyEndpoint(ctx, ep)
	made.Interface = ""
	return made, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// objects renders everything there is.
func (w *world) objects(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	networks, err := w.c.Networks(t.Context())
	must(t, err)
	for _, n := range networks {
		fmt.Fprintln(&b, "network", n.ID(), n.Name(), n.Driver(), n.VNI(), n.Subnets(), n.Labels())
		eps, err := n.Endpoints(t.Context())
		must(t, err)
		for _, ep := range eps {
			fmt.Fprintf(&b, "endpoint %s %s %+v\n", ep.ID(), ep.Name(), ep.Info())
		}
	}
	for _, sb := range w.c.Sandboxes() {
		fmt.Fprintln(&b, "sandbox", sb.ID(), sb.ContainerID(), sb.Key(), len(sb.Endpoints()), sb.Labels())
	}
	fmt.Fprint(&b, w.host.Dump("fakenet"))
	for _, name := range w.files(t) {
		fmt.Fprintln(&b, "file", name)
	}
	return b.String()
}

// files returns the names of everything in the world's directories.
func (w *world) files(t *testing.T) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(w.dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != w.dir {
			names = append(names, strings.TrimPrefix(path, w.dir+"/"))
		}
		return err
	}))
	return names
}

// fileForm is what the names of files are made of.
var fileForm = regexp.MustCompile(`\A(cluster|data/libcnm\.db)(\.journal)?\z|\A(data|run|run/lock|run/netns|run/sandboxes)\z|` +
	`\Arun/netns/[0-9a-f]{32}\z|\Arun/sandboxes/[0-9a-f]{32}(/(hosts|hostname|resolv\.conf))?\z`)

// strangers names everything of a form that libcnm would not have written. The controller is closed.
func (w *world) strangers(t *testing.T) []string {
	t.Helper()
	strange, _ := w.spy.seen()
	strange = slices.Clone(strange)
	for _, name := range w.files(t) {
		if !fileForm.MatchString(name) {
			strange = append(strange, fmt.Sprintf("file %q", name))
		}
	}
	must(t, w.c.Close())
	db, err := local.Open(t.Context(), filepath.Join(w.dir, "data", "libcnm.db"))
	must(t, err)
	defer func() { must(t, db.Close()) }()
	records, _, err := db.List(t.Context(), "")
	must(t, err)
	for _, raw := range records {
		if !keyForm.MatchString(raw.Key) {
			strange = append(strange, fmt.Sprintf("key %q", raw.Key))
		}
	}
	return strange
}
