package hostfault

import (
	"context"
	"errors"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// second says what controller to open beside the agent's own.
type second struct {
	nodeagent.Open
	DataDir, RunDir string
}

// openSecond opens another controller and closes it again.
func openSecond(ctx context.Context, s second) (struct{}, error) {
	c, err := libcnm.New(ctx, libcnm.WithNode(s.Node, s.Underlay), libcnm.WithDataDir(s.DataDir), libcnm.WithRunDir(s.RunDir),
		libcnm.WithEtcd(clientv3.Config{Endpoints: s.Etcd}))
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, c.Close()
}

// TestSecondController: what one controller has, another is refused, and the first is not disturbed.
func TestSecondController(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, testutil.HostsOptions{NoOVS: true, EtcdMembers: 1})
	w.network(t, w.Hosts[0], "bridge", "den", 3)
	a, b := w.box(t, w.Hosts[0], "den", "a"), w.box(t, w.Hosts[0], "den", "b")
	works(t, between(a, b))
	traffic := startPings(t, between(a, b))
	const data, run = libcnm.DefaultDataDir, libcnm.DefaultRunDir
	const otherData, otherRun = "/var/lib/other", "/run/other"
	refused := func(h *testutil.Host, node, data, run string, want error) {
		t.Helper()
		s := second{nodeagent.Open{Node: node, Underlay: h.VTEP, Etcd: w.Etcd.Endpoints()}, data, run}
		if err := h.Call(t.Context(), "second", s, nil); !errors.Is(err, want) {
			t.Errorf("controller of node %s on %s with %s and %s: %v, want %v", node, h.Name, data, run, err, want)
		}
	}
	refused(w.Hosts[1], "host1", otherData, otherRun, libcnm.ErrInUse)
	refused(w.Hosts[0], "host1", otherData, run, libcnm.ErrInUse)
	refused(w.Hosts[0], "host1", data, otherRun, libcnm.ErrInUse)
	refused(w.Hosts[0], "host9", otherData, run, libcnm.ErrInUse)
	refused(w.Hosts[0], "host9", data, otherRun, libcnm.ErrInUse)
	must(t, w.drift(t))
	// A node that died keeps its name while it may come back, and comes back.
	w.Hosts[0].Kill9(t)
	refused(w.Hosts[1], "host1", otherData, otherRun, libcnm.ErrInUse)
	w.Hosts[0].Start(t)
	w.open(t, w.Hosts[0])
	must(t, w.drift(t))
	refused(w.Hosts[1], "host9", "/var/lib/third", "/run/third", nil) // the control
	figures := report.Figures{Faults: 6}
	cost := traffic.stop()
	figures.Probes, figures.Lost = cost.sent, cost.lost
	if cost.lost > 0 || cost.err != nil {
		t.Errorf("traffic lost %d of %d packets, %v", cost.lost, cost.sent, cost.err)
	}
	w.audit(t, &figures)
	report.Add(t, figures)
}
