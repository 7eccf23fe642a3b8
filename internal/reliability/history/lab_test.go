package history_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store/etcd"
)

var seedFlag = flag.Uint64("seed", 0, "repeat the calls and faults of the run that printed it; 0 chooses one")

const (
	patience  = 60 * time.Second // with a healthy cluster on a busy machine
	etcdQuota = 24 << 20         // bytes; soon full, and never by these tests' own records
)

// chooseSeed returns the seed of a run and prints it.
func chooseSeed(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with %s-run '^%s$' -seed %d", report.Pick("", "LIBCNM_FULL=1 and "), t.Name(), seed)
	return seed
}

// lab is machines with controllers, and machines with the members of one etcd.
type lab struct {
	t        *testing.T
	etcd     *testutil.EtcdCluster
	machines []*testutil.Host // of the etcd members
	nodes    []*node
	random   *rand.Rand // of the goroutine that runs the test
}

// node is a controller in a process on a machine. Several may share a process.
type node struct {
	name string
	host *testutil.Host
	open openRequest
	wait time.Duration // for each answer

	unknown atomic.Int64 // calls without an answer

	mu sync.Mutex    // guards up
	up chan struct{} // closed while the controller is open
}

// labOptions describe a lab.
type labOptions struct {
	members   int // of etcd, each on a machine of its own
	processes int // likewise
	nodes     int // controllers in each process; 0: one
	seed      uint64
	wait      time.Duration // for each answer
	forgetful float64       // see openRequest
}

// newLab builds it.
func newLab(t *testing.T, o labOptions) *lab {
	t.Helper()
	rig := testutil.NewHosts(t, o.processes+o.members, testutil.HostsOptions{NoOVS: true})
	l := &lab{t: t, machines: rig.Hosts[o.processes:], random: rand.New(rand.NewPCG(o.seed, 0))}
	opts := testutil.EtcdOptions{Quota: etcdQuota, Wrap: func(member int, cmd *exec.Cmd) {
		wrapped := l.machines[member].Command(cmd.Path, cmd.Args[1:]...)
		cmd.Path, cmd.Args, cmd.Err = wrapped.Path, wrapped.Args, wrapped.Err
	}}
	for _, m := range l.machines {
		opts.Addrs = append(opts.Addrs, m.Addr4.String())
	}
	l.etcd = testutil.StartEtcd(t, opts)
	var opening sync.WaitGroup
	for _, h := range rig.Hosts[:o.processes] {
		h.Start(t)
		for i := range max(o.nodes, 1) {
			n := l.newNode(h, i, o)
			opening.Go(func() {
				if err := l.openNode(n); err != nil {
					t.Error(err)
				}
			})
		}
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return l
}

// newNode describes the i-th controller on a machine.
func (l *lab) newNode(h *testutil.Host, i int, o labOptions) *node {
	l.t.Helper()
	underlay := h.Addr4
	if i > 0 {
		underlay = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		h.NS.AddAddr(l.t, "lo", netip.PrefixFrom(underlay, 32))
	}
	name := fmt.Sprintf("%s-%d", h.Name, i)
	n := &node{name: name, host: h, wait: o.wait, up: make(chan struct{}), open: openRequest{
		Node: name, Underlay: underlay, Etcd: l.etcd.Endpoints(), Forgetful: o.forgetful, Seed: o.seed,
	}}
	l.nodes = append(l.nodes, n)
	return n
}

// openNode starts the node's controller in its process, as often as it takes.
func (l *lab) openNode(n *node) error {
	err := testutil.Wait(l.t.Context(), patience, func() error {
		ctx, cancel := context.WithTimeout(l.t.Context(), patience/4)
		defer cancel()
		return n.host.Call(ctx, "open", n.open, nil)
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.up)
	return nil
}

// down makes callers wait until the node is open again.
func (n *node) down() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = make(chan struct{})
}

// call runs a method of the node's controller. An answer that never came is of the class unknown.
func (n *node) call(ctx context.Context, method string, r request) (answer, error) {
	n.mu.Lock()
	up := n.up
	n.mu.Unlock()
	select {
	case <-up:
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	r.Node, r.Timeout = n.name, n.wait
	start, err := now()
	if err != nil {
		return answer{}, err
	}
	var a answer
	if err := n.host.Call(ctx, method, r, &a); err != nil {
		a = answer{Start: start, Class: classUnknown, Text: err.Error()}
	}
	if a.Class == classUnknown {
		n.unknown.Add(1)
	}
	if a.Class == classUnexpected {
		return a, fmt.Errorf("%s: %s", method, a.Text)
	}
	return a, nil
}

// store opens the store of the controllers.
func (l *lab) store() *etcd.Store {
	l.t.Helper()
	st, err := etcd.New(l.t.Context(), l.etcd.Config())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := st.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return st
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// span is n addresses from the first on.
func span(first netip.Addr, n int) []netip.Addr {
	list := make([]netip.Addr, n)
	for i := range list {
		list[i] = first
		first = first.Next()
	}
	return list
}
