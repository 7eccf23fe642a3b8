package libcnm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
)

// walker is a node that does things at random, to networks, endpoints and sandboxes that other nodes also use.
type walker struct {
	f    *fixture
	name string
	mu   sync.RWMutex // guards c: held to open another, not by those who use it meanwhile
	c    *libcnm.NetworkController
}

func (w *walker) controller() *libcnm.NetworkController {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.c
}

// reopen closes the controller under those who use it.
func (w *walker) reopen(t *testing.T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.c.Close(); err != nil {
		t.Errorf("%s: %v", w.name, err)
	}
	c, err := w.f.tryOpen(t)
	if err != nil {
		t.Errorf("%s: %v", w.name, err)
		return
	}
	w.c = c
}

var (
	walkNetworks  = []string{"blue", "green", "red"}
	walkEndpoints = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	walkBoxes     = []string{"box1", "box2", "box3"}
)

// TestRandomWalk lets many nodes do whatever can be done, all at once, on one etcd, and controllers close and open
// meanwhile. Every call succeeds or is refused for a reason that can be; when all is quiet, the records agree with each
// other, and every host has exactly what the records say.
func TestRandomWalk(t *testing.T) {
	const nodes, workers, steps, restart = 4, 3, 120, 40
	ctx := t.Context()
	members := testutil.StartEtcd(t, testutil.EtcdOptions{})
	var walkers []*walker
	for i := range nodes {
		w := &walker{name: fmt.Sprintf("node%d", i+1)}
		w.f = newFixture(t, w.name, libcnm.WithEtcd(members.Config()))
		w.c = w.f.open(t)
		walkers = append(walkers, w)
	}
	counts := make([]atomic.Int64, len(walkSteps))
	var wg sync.WaitGroup
	for i, w := range walkers {
		for j := range workers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
				for step := range steps {
					if j == 0 && step%restart == restart-1 {
						w.reopen(t)
					}
					k := walkOn(random)
					err := walkSteps[k].do(ctx, w.controller(), random)
					if err == nil {
						counts[k].Add(1)
					} else if !allowed(err) {
						t.Errorf("%s: %s: %v", w.name, walkSteps[k].name, err)
					}
				}
			})
		}
	}
	wg.Wait()
	for k := range counts {
		t.Logf("%4d times: %s", counts[k].Load(), walkSteps[k].name)
	}
	st, err := etcd.New(ctx, members.Config())
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	if t.Failed() {
		return
	}
	for _, w := range walkers {
		testutil.Eventually(t, settle, func() error {
			want := checkRecords(t, st, w.name)
			if diff := cmp.Diff(want, hostView(w.f, "fakenet")); diff != "" {
				return fmt.Errorf("host of %s (-records +host):\n%s", w.name, diff)
			}
			return nil
		})
		drift, err := w.controller().Check(ctx)
		must(t, err)
		if len(drift) > 0 {
			t.Errorf("%s: %v", w.name, drift)
		}
	}
	for _, w := range walkers {
		for _, sb := range w.controller().Sandboxes() {
			must(t, sb.Delete(ctx))
		}
		if left := w.f.host.Dump("fakenet"); left != "" {
			t.Errorf("left on %s:\n%s", w.name, left)
		}
	}
	all, err := walkers[0].controller().Networks(ctx)
	must(t, err)
	for _, n := range all {
		eps, err := n.Endpoints(ctx)
		must(t, err)
		for _, ep := range eps {
			must(t, ep.Delete(ctx))
		}
		must(t, n.Delete(ctx))
	}
	rest, _, err := st.List(ctx, "")
	must(t, err)
	for _, r := range rest {
		if !strings.HasPrefix(r.Key, "nodes/") && r.Key != "subnets" {
			t.Errorf("left in the store: %s %s", r.Key, r.Value)
		}
	}
}

// allowed reports whether a call may be refused like this when others do what they like at the same time.
func allowed(err error) bool {
	for _, class := range []error{
		nil, libcnm.ErrExists, libcnm.ErrNotFound, libcnm.ErrInUse, libcnm.ErrExhausted, libcnm.ErrClosed,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

type walkStep struct {
	name   string
	weight int
	do     func(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error
}

func pickOne[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func walkEndpoint(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) (*libcnm.Endpoint, error) {
	n, err := c.NetworkByName(ctx, pickOne(r, walkNetworks))
	if err != nil {
		return nil, err
	}
	return n.EndpointByName(ctx, pickOne(r, walkEndpoints))
}

func walkJoin(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
	ep, err := walkEndpoint(ctx, c, r)
	if err != nil {
		return err
	}
	sb, err := c.SandboxByContainer(pickOne(r, walkBoxes))
	if err != nil {
		return err
	}
	return ep.Join(ctx, sb)
}

func walkCreate(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
	n, err := c.NetworkByName(ctx, pickOne(r, walkNetworks))
	if err != nil {
		return err
	}
	var opts []libcnm.EndpointOption
	if r.IntN(3) == 0 {
		opts = append(opts, libcnm.WithIP(netip.AddrFrom4([4]byte{10, 1, 0, byte(2 + r.IntN(8))})))
	}
	return second(n.CreateEndpoint(ctx, pickOne(r, walkEndpoints), opts...))
}

func walkNetwork(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
	return second(c.NewNetwork(ctx, "fakenet", pickOne(r, walkNetworks),
		libcnm.WithSubnet(prefix("10.1.0.0/28")), libcnm.WithSubnet(prefix("fd01::/64"))))
}

func walkSandbox(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
	return second(c.NewSandbox(ctx, pickOne(r, walkBoxes)))
}

var walkSteps = []walkStep{
	{"create network", 3, walkNetwork},
	{"create endpoint", 10, walkCreate},
	{"create sandbox", 6, walkSandbox},
	{"join", 24, walkJoin},
	{"leave", 6, func(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
		sb, err := c.SandboxByContainer(pickOne(r, walkBoxes))
		if err != nil {
			return err
		}
		eps := sb.Endpoints()
		if len(eps) == 0 {
			return libcnm.ErrNotFound
		}
		return pickOne(r, eps).Leave(ctx, sb)
	}},
	{"delete sandbox", 2, func(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
		sb, err := c.SandboxByContainer(pickOne(r, walkBoxes))
		if err != nil {
			return err
		}
		return sb.Delete(ctx)
	}},
	{"delete endpoint", 4, func(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
		ep, err := walkEndpoint(ctx, c, r)
		if err != nil {
			return err
		}
		return ep.Delete(ctx)
	}},
	{"delete endpoint by force", 2, func(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
		ep, err := walkEndpoint(ctx, c, r)
		if err != nil {
			return err
		}
		return ep.Delete(ctx, libcnm.WithForce())
	}},
	{"empty and delete network", 1, func(ctx context.Context, c *libcnm.NetworkController, r *rand.Rand) error {
		n, err := c.NetworkByName(ctx, pickOne(r, walkNetworks))
		if err != nil {
			return err
		}
		eps, err := n.Endpoints(ctx)
		for _, ep := range eps {
			err = errors.Join(err, ep.Delete(ctx, libcnm.WithForce()))
		}
		return errors.Join(err, n.Delete(ctx))
	}},
	{"reconcile", 1, func(ctx context.Context, c *libcnm.NetworkController, _ *rand.Rand) error { return c.Reconcile(ctx) }},
}

// walkOn picks a step by its weight.
func walkOn(r *rand.Rand) int {
	total := 0
	for _, s := range walkSteps {
		total += s.weight
	}
	n := r.IntN(total)
	for k, s := range walkSteps {
		if n -= s.weight; n < 0 {
			return k
		}
	}
	return 0
}

// anyRecord has the fields of records that must agree with those of others.
type anyRecord struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Network  string         `json:"network"`
	VNI      int            `json:"vni"`
	MAC      string         `json:"mac"`
	Addrs    []netip.Prefix `json:"addrs"`
	Endpoint string         `json:"endpoint"`
	Join     *struct {
		Node string `json:"node"`
	} `json:"join"`
	Networks []struct {
		ID string `json:"id"`
	} `json:"networks"`
}

// checkRecords compares each record that belongs to another with that other, and returns what the node's host should have.
func checkRecords(t *testing.T, st store.Store, node string) []string {
	t.Helper()
	raws, _, err := st.List(t.Context(), "")
	must(t, err)
	have, want := make(map[string]string), make(map[string]string)
	var subnets, networks []string
	joined := make(map[string][]anyRecord) // by network
	for _, raw := range raws {
		var r anyRecord
		must(t, json.Unmarshal(raw.Value, &r))
		dir, _, _ := strings.Cut(raw.Key, "/")
		switch dir {
		case "networks":
			networks = append(networks, r.ID)
			want["network-names/"+r.Name] = r.ID
			want[fmt.Sprint("vnis/", r.VNI)] = r.ID
		case "endpoints":
			want["networks of endpoints/"+r.Network] = ""
			want[path.Join("endpoint-names", r.Network, r.Name)] = r.ID
			want[path.Join("macs", r.Network, r.MAC)] = r.ID
			for _, a := range r.Addrs {
				want[path.Join("claims", r.Network, a.Addr().String())] = r.ID
			}
			if r.Join != nil {
				want[path.Join("members", r.Join.Node, r.Network, r.ID)] = r.ID
				joined[r.Network] = append(joined[r.Network], r)
			}
		case "claims":
			if r.Endpoint != "" {
				have[raw.Key] = r.Endpoint
			}
		case "subnets":
			for _, n := range r.Networks {
				subnets = append(subnets, n.ID)
			}
		case "nodes":
		default:
			have[raw.Key] = r.ID
		}
	}
	for _, id := range networks {
		if _, ok := want["networks of endpoints/"+id]; ok {
			have["networks of endpoints/"+id] = ""
		}
	}
	slices.Sort(subnets)
	slices.Sort(networks)
	if diff := cmp.Diff(want, have) + cmp.Diff(networks, subnets); diff != "" {
		t.Fatalf("records do not agree (-objects +what belongs to them):\n%s", diff)
	}
	var view []string
	for id, eps := range joined {
		if !slices.ContainsFunc(eps, func(r anyRecord) bool { return r.Join.Node == node }) {
			continue
		}
		view = append(view, "network "+id)
		for _, r := range eps {
			if r.Join.Node == node {
				view = append(view, fmt.Sprintf("network %s endpoint %s", id, r.ID))
			} else {
				view = append(view, fmt.Sprintf("network %s peer %s", id, r.ID), fmt.Sprintf("network %s member %s", id, r.Join.Node))
			}
		}
	}
	slices.Sort(view)
	return slices.Compact(view)
}

// hostView is what a driver has on a fake host, in the form of checkRecords.
func hostView(f *fixture, driver string) []string {
	var view []string
	for line := range strings.Lines(f.host.Dump(driver)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ": ", 3)
		what := strings.Fields(parts[1])
		switch {
		case what[0] == "network":
			view = append(view, parts[0])
		case what[0] == "endpoint" && what[2] == "interface":
			view = append(view, parts[0]+" endpoint "+what[1])
		case what[0] == "peer" || what[0] == "member":
			view = append(view, parts[0]+" "+what[0]+" "+what[1])
		}
	}
	slices.Sort(view)
	return view
}
