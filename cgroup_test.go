package libcnm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/testutil"
)

// cgroupRoot finds a cgroup v2 hierarchy in which groups can be made.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			probe := filepath.Join(fields[1], "libcnm-test-probe")
			if err := os.Mkdir(probe, 0o755); err != nil {
				t.Skipf("cgroup v2 is mounted at %s, but groups cannot be made there: %v", fields[1], err)
			}
			must(t, os.Remove(probe))
			return fields[1]
		}
	}
	t.Skip("no cgroup v2 hierarchy is mounted")
	return ""
}

func TestCgroup(t *testing.T) {
	testutil.NoLeaks(t)
	ctx := t.Context()
	f := newFixture(t, "node1")
	c := f.open(t)
	root := cgroupRoot(t)
	ours, theirs := filepath.Join(root, "libcnm-test-ours"), filepath.Join(root, "libcnm-test-theirs")
	must(t, os.Mkdir(theirs, 0o755))
	t.Cleanup(func() { must(t, os.Remove(theirs)) })
	for _, group := range []string{ours, theirs} {
		sb, err := c.NewSandbox(ctx, filepath.Base(group), libcnm.WithCgroup(group))
		must(t, err)
		if got := output(t, sb, "cat", "/proc/self/cgroup"); !strings.Contains(got, "/"+filepath.Base(group)+"\n") {
			t.Errorf("a program in the sandbox is in\n%s", got)
		}
	}
	must(t, c.Close())
	c = f.open(t) // the group is still the sandbox's to remove
	for _, sb := range c.Sandboxes() {
		must(t, sb.Delete(ctx))
	}
	if _, err := os.Stat(ours); !os.IsNotExist(err) {
		t.Errorf("our group is left: %v", err)
	}
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("the runtime's group is gone: %v", err)
	}
}

// TestBusyCgroup: a sandbox whose group has a process in it cannot be deleted, until the process has ended.
func TestBusyCgroup(t *testing.T) {
	ctx := t.Context()
	group := filepath.Join(cgroupRoot(t), "libcnm-test-busy")
	testutil.NoLeaks(t)
	c := newFixture(t, "node1").open(t)
	sb, err := c.NewSandbox(ctx, "container1", libcnm.WithCgroup(group))
	must(t, err)
	cmd := sb.Command(ctx, "cat")
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	wantErr(t, sb.Delete(ctx), libcnm.ErrInUse, group)
	if lookup(t, c, "container1") != sb {
		t.Error("the sandbox that could not be deleted is gone")
	}
	must(t, in.Close())
	must(t, cmd.Wait())
	must(t, sb.Delete(ctx))
	if _, err := os.Stat(group); !os.IsNotExist(err) {
		t.Errorf("the group is left: %v", err)
	}
	must(t, c.Close())
}
