package libcnm_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestFailedSandboxLeavesNothing fails one of the things that NewSandbox does side by side: what the others made must go.
func TestFailedSandboxLeavesNothing(t *testing.T) {
	for _, broken := range []string{"netns", "sandboxes"} {
		t.Run(broken, func(t *testing.T) {
			f := newFixture(t, "node1")
			c := f.open(t)
			dir, aside := filepath.Join(f.dir, "run", broken), filepath.Join(f.dir, "aside")
			must(t, os.Rename(dir, aside))
			must(t, os.WriteFile(dir, nil, 0o600)) // nothing can be made below it
			if _, err := c.NewSandbox(t.Context(), "container1"); err == nil {
				t.Fatalf("a sandbox was made without %s", dir)
			}
			must(t, os.Remove(dir))
			must(t, os.Rename(aside, dir))
			f.wantNoSandbox(t, c)
		})
	}
}

// TestSandboxInDoubtLeavesNothing ends a call whose commit is being written, and lets it be written only after what was built
// beside it has been taken back.
func TestSandboxInDoubtLeavesNothing(t *testing.T) {
	runtimes := testutil.NewNS(t)
	runtimes.LinkDown(t, "lo")
	for name, opts := range map[string][]libcnm.SandboxOption{
		"our namespace":       nil,
		"runtime's namespace": {libcnm.WithNetNS(runtimes.Path())},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "node1")
			c := f.open(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			undone := make(chan struct{})
			var begin, end sync.Once
			step.Observe(func(name string, at step.Moment) {
				switch {
				case name == "commit to local store" && at == step.Before:
					begin.Do(func() {
						cancel()
						select {
						case <-undone:
						case <-time.After(20 * time.Second):
							t.Error("what was built has not been taken back")
						}
					})
				case name == "remove sandbox directory" && at == step.After:
					end.Do(func() { close(undone) })
				}
			})
			defer step.Observe(nil)
			_, err := c.NewSandbox(ctx, "container1", opts...)
			wantErr(t, err, libcnm.ErrUnavailable, "container1")
			step.Observe(nil)
			f.wantNoSandbox(t, c)
		})
	}
	if lo, err := runtimes.Netlink().LinkByName("lo"); err != nil || lo.Attrs().Flags&net.FlagUp != 0 {
		t.Errorf("lo of the runtime's namespace, of which nothing was committed: %+v, %v", lo, err)
	}
}

// TestCgroupOfAnother has another make the group that was to be ours, while the sandbox is being made.
func TestCgroupOfAnother(t *testing.T) {
	group := filepath.Join(cgroupRoot(t), "libcnm-test-another")
	t.Cleanup(func() { must(t, os.Remove(group)) })
	f := newFixture(t, "node1")
	c := f.open(t)
	var once sync.Once
	step.Observe(func(name string, at step.Moment) {
		if name == "commit to local store" && at == step.Before {
			once.Do(func() {
				if err := os.Mkdir(group, 0o755); err != nil {
					t.Error(err)
				}
			})
		}
	})
	defer step.Observe(nil)
	_, err := c.NewSandbox(t.Context(), "container1", libcnm.WithCgroup(group))
	step.Observe(nil)
	wantErr(t, err, libcnm.ErrExists, group)
	if _, err := os.Stat(group); err != nil {
		t.Errorf("the other's group: %v", err)
	}
	f.wantNoSandbox(t, c)
}

// wantNoSandbox demands that neither the controller, nor the run directory, nor the next controller has a sandbox.
func (f *fixture) wantNoSandbox(t *testing.T, c *libcnm.NetworkController) {
	t.Helper()
	for _, dir := range []string{"netns", "sandboxes"} {
		left, err := os.ReadDir(filepath.Join(f.dir, "run", dir))
		must(t, err)
		if len(left) > 0 || len(c.Sandboxes()) > 0 {
			t.Errorf("left in %s of a sandbox that failed: %v; the controller has %v", dir, left, c.Sandboxes())
		}
	}
	must(t, c.Close())
	if known := f.open(t).Sandboxes(); len(known) > 0 {
		t.Errorf("the next controller finds a record of container %s", known[0].ContainerID())
	}
}
