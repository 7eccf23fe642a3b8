package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
)

// newNetwork makes a dual-stack network of the fake driver.
func newNetwork(t *testing.T, c *libcnm.NetworkController, name string, opts ...libcnm.NetworkOption) *libcnm.Network {
	t.Helper()
	n, err := c.NewNetwork(t.Context(), "fake", name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newEndpoint(t *testing.T, n *libcnm.Network, name string, opts ...libcnm.EndpointOption) *libcnm.Endpoint {
	t.Helper()
	ep, err := n.CreateEndpoint(t.Context(), name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

func newSandbox(t *testing.T, c *libcnm.NetworkController, id string, opts ...libcnm.SandboxOption) *libcnm.Sandbox {
	t.Helper()
	sb, err := c.NewSandbox(t.Context(), id, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Delete(context.WithoutCancel(t.Context())); err != nil && !errors.Is(err, libcnm.ErrClosed) {
			t.Errorf("delete sandbox: %v", err)
		}
	})
	return sb
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErr checks an error's class and that its text names the parts.
func wantErr(t *testing.T, err, class error, parts ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("error = %v, want %v", err, class)
		return
	}
	var e *libcnm.Error
	if !errors.As(err, &e) || e.Op == "" {
		t.Errorf("error %v is no *libcnm.Error with an operation", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %q", err, part)
		}
	}
}

func TestLifecycle(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	n := newNetwork(t, c, "web", libcnm.WithSubnet(prefix("10.1.0.0/24")), libcnm.WithSubnet(prefix("fd01::/64")))
	ep := newEndpoint(t, n, "a")
	if got, want := fmt.Sprint(ep.Info().Addresses), "[10.1.0.2/24 fd01::2/64]"; got != want {
		t.Errorf("addresses = %s, want %s", got, want)
	}
	sb := newSandbox(t, c, "container1")
	must(t, ep.Join(ctx, sb))
	if info := ep.Info(); info.Node != "node1" || info.Sandbox != sb.ID() {
		t.Errorf("joined endpoint says %+v", info)
	}
	if eps := sb.Endpoints(); len(eps) != 1 || eps[0].ID() != ep.ID() {
		t.Errorf("sandbox has endpoints %v", eps)
	}
	must(t, ep.Join(ctx, sb)) // again: repairs, changes nothing

	wantErr(t, n.Delete(ctx), libcnm.ErrInUse, "web", "a", "node1")
	wantErr(t, ep.Delete(ctx), libcnm.ErrInUse, "node1")
	wantErr(t, ep.Join(ctx, newSandbox(t, c, "container2")), libcnm.ErrInUse, "container1")

	must(t, sb.Delete(ctx)) // leaves first
	must(t, sb.Delete(ctx)) // again: nothing to do
	if info := ep.Info(); info.Node != "" || info.Interface != "" {
		t.Errorf("endpoint that has left says %+v", info)
	}
	wantErr(t, ep.Join(ctx, sb), libcnm.ErrNotFound, "container1")
	must(t, ep.Delete(ctx))
	wantErr(t, ep.Delete(ctx), libcnm.ErrNotFound)
	must(t, n.Delete(ctx))
	wantErr(t, n.Delete(ctx), libcnm.ErrNotFound)
	_, err := n.CreateEndpoint(ctx, "b")
	wantErr(t, err, libcnm.ErrNotFound, "web")
	if left := f.host.Dump("fake"); left != "" {
		t.Errorf("left on the host:\n%s", left)
	}
}

func TestAnyOrder(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	early := newSandbox(t, c, "early") // before any network
	n := newNetwork(t, c, "web")
	ep := newEndpoint(t, n, "a") // before its sandbox
	late := newSandbox(t, c, "late")
	for range 3 { // leave and join again, elsewhere too
		for _, sb := range []*libcnm.Sandbox{early, late} {
			addrs := fmt.Sprint(ep.Info().Addresses)
			must(t, ep.Join(ctx, sb))
			must(t, ep.Leave(ctx, sb))
			must(t, ep.Leave(ctx, sb)) // not in it: succeeds
			if got := fmt.Sprint(ep.Info().Addresses); got != addrs {
				t.Fatalf("addresses changed from %s to %s", addrs, got)
			}
		}
	}
	must(t, ep.Join(ctx, early))
	wantErr(t, ep.Leave(ctx, late), libcnm.ErrInUse, "early")
	must(t, ep.Delete(ctx, libcnm.WithForce()))
	if eps := early.Endpoints(); len(eps) != 0 {
		t.Errorf("endpoints left in the sandbox: %v", eps)
	}
	must(t, n.Delete(ctx))
}

func TestLookups(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	n := newNetwork(t, c, "web", libcnm.WithLabels(map[string]string{"tier": "front"}))
	ep := newEndpoint(t, n, "a", libcnm.WithAliases("www"))
	sb := newSandbox(t, c, "container1")

	byName, err := c.NetworkByName(ctx, "web")
	must(t, err)
	byID, err := c.NetworkByID(ctx, n.ID())
	must(t, err)
	all, err := c.Networks(ctx)
	must(t, err)
	for _, got := range append(all, byName, byID) {
		if got.ID() != n.ID() || got.Name() != "web" || got.Driver() != "fake" || got.Labels()["tier"] != "front" {
			t.Errorf("found network %s %s %s %v", got.ID(), got.Name(), got.Driver(), got.Labels())
		}
	}
	epByName, err := n.EndpointByName(ctx, "a")
	must(t, err)
	epByID, err := n.EndpointByID(ctx, ep.ID())
	must(t, err)
	eps, err := n.Endpoints(ctx)
	must(t, err)
	for _, got := range append(eps, epByName, epByID) {
		if got.ID() != ep.ID() || fmt.Sprint(got.Info()) != fmt.Sprint(ep.Info()) {
			t.Errorf("found endpoint %s %+v, want %+v", got.ID(), got.Info(), ep.Info())
		}
	}
	sbByID, err := c.SandboxByID(sb.ID())
	must(t, err)
	sbByContainer, err := c.SandboxByContainer("container1")
	must(t, err)
	if sbByID != sb || sbByContainer != sb || len(c.Sandboxes()) != 1 || c.Sandboxes()[0] != sb {
		t.Error("look-ups give other sandboxes")
	}
	for what, err := range map[string]error{
		"network by name": second(c.NetworkByName(ctx, "absent")),
		"network by ID":   second(c.NetworkByID(ctx, strings.Repeat("0", 32))),
		"endpoint":        second(n.EndpointByName(ctx, "absent")),
		"endpoint by ID":  second(n.EndpointByID(ctx, strings.Repeat("0", 32))),
		"sandbox":         second(c.SandboxByContainer("absent")),
		"sandbox by ID":   second(c.SandboxByID(strings.Repeat("0", 32))),
	} {
		t.Run(what, func(t *testing.T) { wantErr(t, err, libcnm.ErrNotFound) })
	}
}

func second[T any](_ T, err error) error { return err }

func TestOneNameOnce(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	n := newNetwork(t, c, "web")
	for what, call := range map[string]func() error{
		"endpoint": func() error { return second(n.CreateEndpoint(ctx, "same")) },
		"network":  func() error { return second(c.NewNetwork(ctx, "fake", "same")) },
		"sandbox":  func() error { return second(c.NewSandbox(ctx, "same")) },
	} {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() { errs[i] = call() })
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else {
				wantErr(t, err, libcnm.ErrExists, "same")
			}
		}
		if made != 1 {
			t.Errorf("%d of 8 concurrent calls for one %s name succeeded, want 1", made, what)
		}
	}
	sb, err := c.SandboxByContainer("same")
	must(t, err)
	must(t, sb.Delete(ctx))
}

// TestJoinsRunInParallel holds two joins inside the driver until both are there: one after the other would never end.
func TestJoinsRunInParallel(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	var both sync.WaitGroup
	both.Add(2)
	c := f.open(t, libcnm.WithDriver(linkless{&meeting{
		Driver: drivertest.NewFake(drivertest.FakeConfig{Info: drivers.Info{Name: "meet", Scope: drivers.ScopeLocal, Addressing: true}}),
		both:   &both,
	}}))
	n, err := c.NewNetwork(ctx, "meet", "web")
	must(t, err)
	var wg sync.WaitGroup
	for i := range 2 {
		sb := newSandbox(t, c, fmt.Sprintf("container%d", i))
		ep := newEndpoint(t, n, fmt.Sprintf("ep%d", i))
		wg.Go(func() {
			if err := ep.Join(ctx, sb); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestFailedJoinLeavesNothing makes the driver fail in the middle of a join.
func TestFailedJoinLeavesNothing(t *testing.T) {
	ctx := t.Context()
	f := newFixture(t, "node1")
	broken := errors.New("broken on purpose")
	var fail bool
	var mu sync.Mutex
	c := f.open(t, libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{
		Host: f.host, Info: drivers.Info{Name: "frail", Scope: drivers.ScopeLocal, Addressing: true},
		Fault: func(step string) error {
			mu.Lock()
			defer mu.Unlock()
			if fail && strings.Contains(step, "endpoint") && strings.HasPrefix(step, "add") {
				return broken
			}
			return nil
		},
	})}))
	n, err := c.NewNetwork(ctx, "frail", "web")
	must(t, err)
	before := f.host.Dump("frail")
	ep := newEndpoint(t, n, "a")
	sb := newSandbox(t, c, "container1")
	mu.Lock()
	fail = true
	mu.Unlock()
	if err := ep.Join(ctx, sb); !errors.Is(err, broken) {
		t.Fatalf("join = %v, want the driver's error", err)
	}
	if info := ep.Info(); info.Node != "" || len(sb.Endpoints()) != 0 {
		t.Errorf("after a failed join the endpoint says %+v, the sandbox has %d endpoints", info, len(sb.Endpoints()))
	}
	if after := f.host.Dump("frail"); after != before {
		t.Errorf("left on the host:\n%s", after)
	}
	mu.Lock()
	fail = false
	mu.Unlock()
	must(t, ep.Join(ctx, sb)) // the retry succeeds
}

// TestStaleHandle uses handles that have not seen what others did.
func TestStaleHandle(t *testing.T) {
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	n := newNetwork(t, c, "web")
	first := newEndpoint(t, n, "a")
	sb := newSandbox(t, c, "container1")
	must(t, first.Join(ctx, sb))
	second, err := n.EndpointByName(ctx, "a") // sees it joined
	must(t, err)
	must(t, first.Leave(ctx, sb))
	must(t, second.Join(ctx, sb))
	must(t, first.Leave(ctx, sb))
	must(t, second.Delete(ctx))
	wantErr(t, first.Join(ctx, sb), libcnm.ErrNotFound)
}
