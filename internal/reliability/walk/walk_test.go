package walk

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

const (
	hostCount = 3
	// settle is for a machine that does much else; what is waited for takes well under a second.
	settle = 30 * time.Second
	// callTimeout is above what the library allows itself for taking back what failed.
	callTimeout = time.Minute
)

// seedOf is the environment's seed, or one of this moment.
func seedOf(t *testing.T) uint64 {
	text := os.Getenv("LIBCNM_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	rig.Must(t, err)
	return seed
}

// TestRandomWalks walks on one rig again and again. Each walk begins and ends with nothing but the bystanders.
func TestRandomWalks(t *testing.T) {
	walks, calls := report.Pick(2, 21), report.Pick(150, 250)
	seed := seedOf(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to repeat: LIBCNM_SEED=%d", seed)
		}
	})
	w := newWalker(t)
	for i := range walks {
		w.random = rand.New(rand.NewPCG(seed, uint64(i)))
		w.walk(calls)
		w.figures.Walks++
		if t.Failed() {
			t.Fatalf("in walk %d of seed %d", i, seed)
		}
	}
	w.stopBystanders()
	if w.figures.Kills == 0 {
		t.Error("nobody was killed")
	}
	t.Logf("seed %d: %+v", seed, w.figures)
	report.Add(t, w.figures)
}

// walker is a number of hosts, and what should be true of them.
type walker struct {
	t       *testing.T
	rig     *testutil.Rig
	random  *rand.Rand
	model   facts
	doubts  map[string][]string // by key: what it was before a call of unknown outcome, and what else it may be now
	dead    map[string]bool     // hosts whose controller was killed
	armed   map[string]bool     // hosts whose controller will be
	addrs   map[string]string   // of endpoints, by their keys: they never change
	pingers []*testutil.Pinger  // of bystanders within a host
	across  []*testutil.Pinger  // of those on two hosts
	silence time.Duration       // the longest the bystanders have seen
	figures report.Figures
	began   time.Time
}

func newWalker(t *testing.T) *walker {
	t.Helper()
	w := &walker{
		t: t, rig: testutil.NewHosts(t, hostCount, testutil.HostsOptions{EtcdMembers: 1}), model: facts{},
		doubts: map[string][]string{}, dead: map[string]bool{}, armed: map[string]bool{}, addrs: map[string]string{},
		began: time.Now(),
	}
	for _, h := range w.rig.Hosts {
		h.Start(t)
		rig.Must(t, w.open(h))
	}
	w.startBystanders()
	return w
}

func (w *walker) host(name string) *testutil.Host {
	i := slices.IndexFunc(w.rig.Hosts, func(h *testutil.Host) bool { return h.Name == name })
	return w.rig.Hosts[i]
}

func (w *walker) open(h *testutil.Host) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), callTimeout)
	defer cancel()
	return h.Call(ctx, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: w.rig.Etcd.Endpoints()}, nil)
}

// walk makes so many calls, and removes what they have left.
func (w *walker) walk(calls int) {
	w.t.Helper()
	const between = 30 // calls from one settling to the next
	for done, next := 0, between; done < calls; {
		done += w.burst()
		if w.t.Failed() {
			return
		}
		if done >= next || done >= calls {
			w.settle()
			next = done + between
		}
	}
	w.clear()
	w.settle()
}

// burst makes a few calls side by side and returns how many.
func (w *walker) burst() int {
	w.t.Helper()
	var alive []string
	for _, h := range w.rig.Hosts {
		// A dead controller comes back after a while, so that others act meanwhile.
		if w.dead[h.Name] && w.random.IntN(2) == 0 {
			w.revive(h)
		}
		if !w.dead[h.Name] {
			alive = append(alive, h.Name)
		}
	}
	if len(alive) == 0 {
		return 0
	}
	w.watchBystanders()
	if victim := one(w.random, alive); w.random.IntN(2) == 0 && !w.armed[victim] {
		w.arm(w.host(victim))
	}
	frozen := map[string]bool{}
	for key, values := range w.doubts {
		frozen[key] = true
		// How many endpoints the network has is not known either.
		if strings.HasPrefix(key, "endpoint ") && slices.Contains(values, "") {
			network := networkOf(key)
			frozen["count "+network] = true
			if limited(network) {
				frozen["addresses "+network] = true
			}
		}
	}
	list := burst(w.random, w.model, alive, frozen)
	answers := make([]error, len(list))
	addrs := make([]string, len(list))
	var group sync.WaitGroup
	for i, c := range list {
		group.Go(func() { addrs[i], answers[i] = w.call(c) })
	}
	group.Wait()
	for i, c := range list {
		w.judge(c, addrs[i], answers[i])
	}
	w.figures.Operations += len(list)
	w.watchBystanders()
	return len(list)
}

// arm makes a host's controller die soon.
func (w *walker) arm(h *testutil.Host) {
	w.t.Helper()
	rig.Must(w.t, h.Call(w.t.Context(), "arm", 1+w.random.IntN(50), nil))
	w.armed[h.Name] = true
}

// call makes a call, and returns the addresses of the endpoint it makes.
func (w *walker) call(c call) (string, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), callTimeout)
	defer cancel()
	h := w.host(c.host)
	ep := nodeagent.Endpoint{Network: plain(c.network), Name: c.endpoint, Force: c.force}
	switch c.method {
	case "network.create":
		return "", h.Call(ctx, c.method, nodeagent.Network{
			Driver: driverOf(c.network), Name: plain(c.network), Subnets: subnets[plain(c.network)], Internal: plain(c.network) == "db",
		}, nil)
	case "network.delete":
		return "", h.Call(ctx, c.method, plain(c.network), nil)
	case "endpoint.create":
		if c.addr != "" {
			ep.Addrs = []netip.Addr{netip.MustParseAddr(c.addr)}
		}
		var info struct{ Addresses []netip.Prefix }
		err := h.Call(ctx, c.method, ep, &info)
		return fmt.Sprint(info.Addresses), err
	case "endpoint.delete":
		return "", h.Call(ctx, c.method, ep, nil)
	case "sandbox.create", "sandbox.delete":
		return "", h.Call(ctx, c.method, c.box, nil)
	case "join", "leave":
		return "", h.Call(ctx, c.method, nodeagent.Join{Endpoint: ep, Container: c.box}, nil)
	case "reopen":
		if err := h.Call(ctx, "close", nil, nil); err != nil {
			return "", err
		}
		return "", w.open(h)
	}
	return "", h.Call(ctx, c.method, nil, nil)
}

// judge compares an answer with what the model expects, and tells the model what is true now. A call that has no answer may
// have happened or not.
func (w *walker) judge(c call, addrs string, err error) {
	w.t.Helper()
	w.t.Logf("%6.2f %s: %v", time.Since(w.began).Seconds(), c, err)
	want := w.model.expect(c)
	if errors.Is(err, errdefs.ErrUnavailable) && w.died(c.host) {
		for key, after := range want.makes {
			w.doubts[key] = []string{w.model[key], after}
			if half, ok := want.half[key]; ok {
				w.doubts[key] = append(w.doubts[key], half)
			}
		}
		return
	}
	made, wrong := want.judge(err)
	if wrong != nil {
		w.t.Errorf("%s: %v", c, wrong)
	}
	if !made {
		return
	}
	w.model.apply(want.makes)
	if c.method == "endpoint.create" {
		w.addrs[c.epKey()] = addrs
	}
}

// died reports whether the host's controller was killed.
func (w *walker) died(host string) bool {
	if w.dead[host] {
		return true
	}
	if !w.armed[host] || w.host(host).Call(w.t.Context(), "moments", nil, nil) == nil {
		return false
	}
	delete(w.armed, host)
	w.dead[host] = true
	w.figures.Kills++
	return true
}

// revive starts the controller of a host anew, perhaps to die at once, and sees what its last calls have done.
func (w *walker) revive(h *testutil.Host) {
	w.t.Helper()
	for deaths := 0; ; deaths++ {
		h.Restart(w.t)
		if deaths < 3 && w.random.IntN(3) == 0 {
			rig.Must(w.t, h.Call(w.t.Context(), "arm", 1+w.random.IntN(60), nil))
		}
		err := w.open(h)
		if err == nil {
			rig.Must(w.t, h.Call(w.t.Context(), "arm", 0, nil))
			break
		}
		if h.Call(w.t.Context(), "moments", nil, nil) == nil {
			w.t.Fatalf("%s: new controller after a death: %v", h.Name, err)
		}
		w.figures.Kills++
	}
	delete(w.dead, h.Name)
	w.t.Logf("%6.2f %s lives again", time.Since(w.began).Seconds(), h.Name)
	w.resolve()
}
