package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
)

// TestCancelledAtAnyMoment ends the context of each call at another moment, then repeats the call: it succeeds, or what
// the first one made is found. At the end nothing is left.
func TestCancelledAtAnyMoment(t *testing.T) {
	for driver, moments := range map[string]struct {
		n    int
		step time.Duration
	}{
		"fake":    {16, 120 * time.Microsecond},
		"fakenet": {16, 120 * time.Microsecond},
		"bridge":  {5, 7 * time.Millisecond},
	} {
		t.Run(driver, func(t *testing.T) {
			f := newFixture(t, "node1", libcnm.WithStore(newFaulty(t)))
			c := f.open(t)
			before := f.dump(t, c)
			for i := range moments.n {
				lifeInHaste(t, c, driver, time.Duration(i)*moments.step)
			}
			must(t, c.Reconcile(t.Context()))
			if after := f.dump(t, c); after != before {
				t.Errorf("left behind:\n%s\nat the beginning:\n%s", after, before)
			}
		})
	}
}

// lifeInHaste makes a network, an endpoint and a sandbox, and removes them: every step first for the given time only.
func lifeInHaste(t *testing.T, c *libcnm.NetworkController, driver string, most time.Duration) {
	t.Helper()
	ctx := t.Context()
	hasty := func(call func(ctx context.Context) error) {
		t.Helper()
		short, cancel := context.WithTimeout(ctx, most)
		defer cancel()
		if err := call(short); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a call of %s: %v, want the context's error", most, err)
		}
	}
	// either passes over the class of error that tells that the hasty call had done its work.
	either := func(err, class error) bool {
		t.Helper()
		if err != nil && !errors.Is(err, class) {
			t.Fatalf("repeated after %s: %v", most, err)
		}
		return err == nil
	}
	hasty(func(ctx context.Context) error { return second(c.NewNetwork(ctx, driver, "web")) })
	n, err := c.NewNetwork(ctx, driver, "web")
	if !either(err, libcnm.ErrExists) {
		n = mustNetwork(t, c, "web")
	}
	hasty(func(ctx context.Context) error { return second(n.CreateEndpoint(ctx, "a")) })
	ep, err := n.CreateEndpoint(ctx, "a")
	if !either(err, libcnm.ErrExists) {
		ep, err = n.EndpointByName(ctx, "a")
		must(t, err)
	}
	hasty(func(ctx context.Context) error { return second(c.NewSandbox(ctx, "container1")) })
	sb, err := c.NewSandbox(ctx, "container1")
	if !either(err, libcnm.ErrExists) {
		sb = lookup(t, c, "container1")
	}
	hasty(func(ctx context.Context) error { return ep.Join(ctx, sb) })
	must(t, ep.Join(ctx, sb))
	hasty(func(ctx context.Context) error { return ep.Leave(ctx, sb) })
	must(t, ep.Leave(ctx, sb))
	must(t, ep.Join(ctx, sb))
	hasty(func(ctx context.Context) error { return sb.Delete(ctx) })
	must(t, sb.Delete(ctx))
	hasty(func(ctx context.Context) error { return ep.Delete(ctx) })
	either(ep.Delete(ctx), libcnm.ErrNotFound)
	hasty(func(ctx context.Context) error { return n.Delete(ctx) })
	either(n.Delete(ctx), libcnm.ErrNotFound)
}

// TestOneSandboxIsBusy joins and leaves several networks of one sandbox at once, while others look at it: nobody is
// disturbed, and nothing that is about to be done is taken for damage.
func TestOneSandboxIsBusy(t *testing.T) {
	const networks, rounds = 3, 6
	ctx := t.Context()
	c := newFixture(t, "node1").open(t)
	sb := newSandbox(t, c, "container1")
	var joining, watching sync.WaitGroup
	done := make(chan struct{})
	for i := range networks {
		n := bridgeNetwork(t, c, fmt.Sprint("net", i))
		ep := newEndpoint(t, n, "a")
		joining.Go(func() {
			for range rounds {
				if err := errors.Join(ep.Join(ctx, sb), ep.Leave(ctx, sb)); err != nil {
					t.Errorf("network %s: %v", n.Name(), err)
				}
			}
		})
	}
	for what, look := range map[string]func() error{
		"statistics": func() error { return second(sb.Statistics(ctx)) },
		"check": func() error {
			drift, err := c.Check(ctx)
			if len(drift) > 0 {
				err = fmt.Errorf("%v", drift)
			}
			return err
		},
	} {
		watching.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := look(); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
			}
		})
	}
	joining.Wait()
	close(done)
	watching.Wait()
	if stats, err := sb.Statistics(ctx); err != nil || len(stats) != 0 {
		t.Errorf("at the end: %v, %v", stats, err)
	}
}

// TestSharedHandles uses the same few handles from many goroutines, and closes the controller under them.
func TestSharedHandles(t *testing.T) {
	const width, rounds = 3, 10
	ctx := t.Context()
	f := newFixture(t, "node1", libcnm.WithStore(newFaulty(t)))
	c := f.open(t)
	n := clusterNetwork(t, c, "blue")
	ep := newEndpoint(t, n, "a")
	boxes := []*libcnm.Sandbox{newSandbox(t, c, "container1"), newSandbox(t, c, "container2")}
	box := func(i int) *libcnm.Sandbox { return boxes[i%len(boxes)] }
	closed := make(chan struct{})
	var wg sync.WaitGroup
	for what, call := range map[string]func(i int) []error{
		"join":  func(i int) []error { return []error{ep.Join(ctx, box(i))} },
		"leave": func(i int) []error { return []error{ep.Leave(ctx, box(i))} },
		"look": func(i int) []error {
			ep.Info()
			box(i).Endpoints()
			c.Sandboxes()
			return []error{
				second(box(i).Statistics(ctx)), second(n.Endpoints(ctx)), second(c.Networks(ctx)), second(c.Check(ctx)),
			}
		},
		"repair": func(int) []error {
			f.host.Lose("on purpose")
			return []error{c.Reconcile(ctx)}
		},
		"sandbox": func(int) []error {
			sb, err := c.NewSandbox(ctx, "fleeting")
			if err != nil {
				return []error{err}
			}
			return []error{ep.Join(ctx, sb), sb.Delete(ctx)}
		},
		"endpoint": func(int) []error {
			ep, err := n.CreateEndpoint(ctx, "fleeting")
			if err != nil {
				return []error{err}
			}
			return []error{n.Delete(ctx), ep.Join(ctx, boxes[0]), ep.Delete(ctx, libcnm.WithForce())}
		},
	} {
		for i := range width {
			wg.Go(func() {
				for round := 0; ; round++ {
					for _, err := range call(i + round) {
						if !allowed(err) {
							t.Errorf("%s: %v", what, err)
						}
					}
					select {
					case <-closed:
						return
					default:
					}
				}
			})
		}
	}
	for i := range rounds {
		if err := ep.Join(ctx, box(i)); !allowed(err) {
			t.Errorf("join: %v", err)
		}
		must(t, c.Reconcile(ctx))
	}
	must(t, c.Close())
	close(closed)
	wg.Wait()

	again := f.open(t)
	if drift, err := again.Check(ctx); err != nil || len(drift) > 0 {
		t.Errorf("the next controller finds %v, %v", drift, err)
	}
	for _, sb := range again.Sandboxes() {
		must(t, sb.Delete(ctx))
	}
	if left := f.host.Dump("fakenet"); left != "" {
		t.Errorf("left on the host:\n%s", left)
	}
}
