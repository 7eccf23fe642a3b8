package crash

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// lane is hosts on one kind of store on which one case follows another. Bystanders are on main and other.
type lane struct {
	store              string
	rig                *testutil.Rig
	main, other, spare *testutil.Host // other is nil on the local store
	at                 map[*testutil.Host]opening
	base               map[*testutil.Host][]string // inventories where every case begins and ends
	bystanders         bystanders
	fresh              int  // controllers' names used on spare
	failed             bool // the last case has, and has left the hosts as they were then

	moments map[point]int // of operations, where step is empty
	figures report.Figures
	hits    hits
}

// The drivers, and the stores.
var driverNames = []string{"bridge", "ovs-vxlan"}

const (
	storeLocal = "local"
	storeEtcd  = "etcd"
)

func newLane(t *testing.T, kind string) *lane {
	t.Helper()
	l := &lane{
		store: kind, at: make(map[*testutil.Host]opening), base: make(map[*testutil.Host][]string),
		moments: make(map[point]int), hits: make(hits),
	}
	if kind == storeLocal {
		l.rig = testutil.NewHosts(t, 3, testutil.HostsOptions{})
	} else {
		l.rig = testutil.NewHosts(t, 4, testutil.HostsOptions{EtcdMembers: 1})
		l.other = l.rig.Hosts[2]
	}
	l.main, l.spare = l.rig.Hosts[0], l.rig.Hosts[1]
	last := len(l.rig.Hosts) - 1
	hosts, unused := l.rig.Hosts[:last], l.rig.Hosts[last]
	for _, h := range hosts {
		at := opening{Node: h.Name, Underlay: h.VTEP}
		if l.rig.Etcd != nil {
			at.Etcd = l.rig.Etcd.Endpoints()
		}
		l.at[h] = at
		h.Start(t)
		l.call(t, h, "open", at, nil)
	}
	l.bystanders = newBystanders(t, l)
	l.bystanders.idle = newIdle(t, unused, l.rig)
	for _, h := range hosts {
		l.settle(t, h, look{})
		var list []string
		l.call(t, h, "inventory", nil, &list)
		l.base[h] = list
	}
	return l
}

// call asks a host's process for something that it must be able to do.
func (l *lane) call(t *testing.T, h *testutil.Host, method string, params, result any) {
	t.Helper()
	if err := h.Call(t.Context(), method, params, result); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
}

// settle waits until a host's records and objects agree. What stays different is a leak.
func (l *lane) settle(t *testing.T, h *testutil.Host, by look) {
	t.Helper()
	var left []string
	l.call(t, h, "settle", by, &left)
	if len(left) > 0 {
		l.figures.Leaks += len(left)
		t.Errorf("%s differs from its records:\n%s", h.Name, strings.Join(left, "\n"))
	}
}

// recover lets a new process take over from one that died, or was killed here, and returns how long it took from New to a
// host without differences.
func (l *lane) recover(t *testing.T, h *testutil.Host) time.Duration {
	t.Helper()
	h.Restart(t)
	start := time.Now()
	l.call(t, h, "open", l.at[h], nil)
	l.settle(t, h, look{Check: true})
	took := time.Since(start)
	l.figures.WorstRepair = max(l.figures.WorstRepair, took)
	return took
}

// undo goes back to where every case begins.
func (l *lane) undo(t *testing.T, h *testutil.Host) {
	t.Helper()
	l.call(t, h, "clean", nil, nil)
	l.settle(t, h, look{})
	var list []string
	l.call(t, h, "inventory", nil, &list)
	if diff := cmp.Diff(l.base[h], list); diff != "" {
		l.figures.Leaks++
		t.Errorf("%s is not what it was before (-before +after):\n%s", h.Name, diff)
	}
}

// revive lets cases go on after one that failed.
func (l *lane) revive(t *testing.T) {
	t.Helper()
	if !l.failed {
		return
	}
	for _, h := range []*testutil.Host{l.main, l.spare} {
		l.recover(t, h)
		l.undo(t, h)
	}
}

// renew gives spare a name that no controller has had.
func (l *lane) renew() {
	l.fresh++
	at := l.at[l.spare]
	at.Node = fmt.Sprintf("%s-%d", l.spare.Name, l.fresh)
	l.at[l.spare] = at
}
