package libcnm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
)

// mortal counts what reaches the store and the driver, and lets nothing more through from one moment on: so it looks when
// a controller dies there.
type mortal struct {
	mu   sync.Mutex // guards what follows
	left int        // moments to live; below 0: for ever
	dead bool
}

func (m *mortal) live(moments int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.dead = moments, false
}

func (m *mortal) dies() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = m.dead || m.left == 0
	m.left--
	return m.dead
}

// commit dies before a commit, or after it and before its answer.
func (m *mortal) commit([]store.Op) outcome {
	if m.dies() {
		return lost
	}
	if m.dies() {
		return silent
	}
	return right
}

func (m *mortal) step(name string) error {
	if m.dies() {
		return fmt.Errorf("%s: dead: %w", name, drivers.ErrUnavailable)
	}
	return nil
}

// TestDeathAtEveryStep ends a controller before and after every commit to the cluster and every step of its driver. The
// next one finds records that agree and makes the host equal to them, and what was interrupted can be done again.
func TestDeathAtEveryStep(t *testing.T) {
	info := drivers.Info{Name: "frail", Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true}
	shared := newFaulty(t)
	f := newFixture(t, "node1", libcnm.WithStore(shared))
	var m mortal
	shared.plan = m.commit
	open := func() *libcnm.NetworkController {
		t.Helper()
		return f.open(t, libcnm.WithDriver(linkless{drivertest.NewFake(drivertest.FakeConfig{
			Host: f.host, Info: info, Fault: m.step,
		})}))
	}
	m.live(-1)
	c := open()
	deaths := 0
	for ; ; deaths++ {
		m.live(deaths)
		err := life(t.Context(), c)
		if err == nil {
			break
		}
		if !errors.Is(err, libcnm.ErrUnavailable) {
			t.Fatalf("death %d: %v", deaths, err)
		}
		must(t, c.Close())
		m.live(-1)
		c = open()
		testutil.Eventually(t, settle, func() error {
			if diff := cmp.Diff(checkRecords(t, shared, "node1"), hostView(f, info.Name)); diff != "" {
				return fmt.Errorf("death %d, %w: (-records +host):\n%s", deaths, err, diff)
			}
			return nil
		})
		if err := life(t.Context(), c); err != nil {
			t.Fatalf("after death %d: %v", deaths, err)
		}
		if left := f.host.Dump(info.Name); left != "" || len(c.Sandboxes()) > 0 {
			t.Fatalf("after death %d: %d sandboxes, and left on the host:\n%s", deaths, len(c.Sandboxes()), left)
		}
	}
	if deaths < 25 {
		t.Errorf("%d deaths: there are more steps than that", deaths)
	}
}

// life makes a network, an endpoint and a sandbox, unless they are there, and removes them.
func life(ctx context.Context, c *libcnm.NetworkController) error {
	n, err := c.NewNetwork(ctx, "frail", "web")
	if errors.Is(err, libcnm.ErrExists) {
		n, err = c.NetworkByName(ctx, "web")
	}
	if err != nil {
		return err
	}
	ep, err := n.CreateEndpoint(ctx, "a")
	if errors.Is(err, libcnm.ErrExists) {
		ep, err = n.EndpointByName(ctx, "a")
	}
	if err != nil {
		return err
	}
	sb, err := c.NewSandbox(ctx, "container1")
	if errors.Is(err, libcnm.ErrExists) {
		sb, err = c.SandboxByContainer("container1")
	}
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return ep.Join(ctx, sb) },
		func() error { return ep.Leave(ctx, sb) },
		func() error { return ep.Join(ctx, sb) },
		func() error { return sb.Delete(ctx) },
		func() error { return ep.Delete(ctx) },
		func() error { return n.Delete(ctx) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
