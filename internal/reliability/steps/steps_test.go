package steps

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/internal/testutil"
)

// TestNothingChangesOutsideSteps lives through every operation, on each driver and store, and every step is in one.
func TestNothingChangesOutsideSteps(t *testing.T) {
	lanes := []struct {
		name, driver string
		members      int // of etcd; 0: the local store
	}{
		{"bridge, local store", "bridge", 0},
		{"ovs-vxlan, etcd", "ovs-vxlan", 1},
		{"bridge, etcd", "bridge", 1},
		{"ovs-vxlan, local store", "ovs-vxlan", 0},
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	t.Run("lanes", func(t *testing.T) {
		for _, lane := range report.Pick(lanes[:2], lanes) {
			t.Run(lane.name, func(t *testing.T) {
				t.Parallel()
				for _, a := range lives(t, lane.driver, lane.members) {
					mu.Lock()
					for _, name := range a.Steps {
						for part := range strings.SplitSeq(name, ", ") {
							seen[part] = true
						}
					}
					mu.Unlock()
				}
			})
		}
	})
	if list := missing(t, seen); len(list) > 0 {
		t.Errorf("no operation here has the steps %q", list)
	}
}

func lives(t *testing.T, driver string, members int) []act {
	t.Helper()
	r := testutil.NewHosts(t, 1, testutil.HostsOptions{EtcdMembers: members, NoOVS: driver == "bridge"})
	h := r.Hosts[0]
	at := lane{Driver: driver, Underlay: h.VTEP}
	if members > 0 {
		at.Etcd = r.Etcd.Endpoints()
	}
	var acts []act
	for _, life := range []string{"first", "second"} {
		h.Start(t)
		var part []act
		if err := h.Call(t.Context(), life, at, &part); err != nil {
			t.Fatal(err)
		}
		acts = append(acts, part...)
		h.Stop(t)
		if life == "first" {
			reboot(t, h)
		}
	}
	steps, looks, seen := 0, 0, 0
	for _, a := range acts {
		t.Logf("%s: %d steps, of which the witness saw %d: %s", a.Name, len(a.Steps), a.Seen, strings.Join(a.Steps, "; "))
		if len(a.Unstepped) > 0 {
			t.Errorf("%s: %d changes outside of steps:\n%s", a.Name, len(a.Unstepped), strings.Join(a.Unstepped[:min(10, len(a.Unstepped))], "\n"))
		}
		steps, looks, seen = steps+len(a.Steps), looks+a.Looks, seen+a.Seen
	}
	if steps < 40 || seen < steps/3 {
		t.Errorf("%d steps, of which the witness saw %d: it is blind", steps, seen)
	}
	t.Logf("%d operations, %d steps, %d looks between them, %d steps seen", len(acts), steps, looks, seen)
	report.Add(t, report.Figures{Operations: len(acts)})
	return acts
}

// reboot leaves nothing but files in the data directory and the switch's database.
func reboot(t *testing.T, h *testutil.Host) {
	t.Helper()
	if h.OVS != nil {
		h.OVS.KillVswitchd(t)
	}
	h.Run(t, "sh", "-c", `set -e
umount -l /run/libcnm/netns/*
rm -r /run/libcnm
for l in $(ip -o link | grep -oE 'cnm[a-z0-9-]+' | sort -u); do ip link delete "$l" 2>/dev/null || true; done
echo 00000000-0000-0000-0000-000000000001 >/run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
`)
	h.FlushRules(t)
	if h.OVS != nil {
		h.OVS.StartVswitchd(t)
	}
}

// TestWitnessSees shows that the witness tells steps from what happens between them, and waits for the background.
func TestWitnessSees(t *testing.T) {
	dir := t.TempDir()
	change := func(name string) error { return os.Mkdir(filepath.Join(dir, name), 0o700) }
	look := func(context.Context) (picture, error) {
		p := picture{}
		return p, p.files(dir)
	}
	acts, err := watch(t.Context(), look, []deed{
		{"stepped", func(context.Context) error { return step.Do("change", func() error { return change("inside") }) }},
		{"not stepped", func(context.Context) error {
			return errors.Join(change("early"), step.Do("nothing", func() error { return nil }), change("late"))
		}},
		{"in the background", func(context.Context) error {
			begun, end := make(chan struct{}), make(chan struct{})
			go func() { // not waited for: the witness must
				if err := step.Do("change", func() error { close(begun); <-end; return change("background") }); err != nil {
					t.Error(err)
				}
			}()
			<-begun
			time.AfterFunc(10*time.Millisecond, func() { close(end) })
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		steps, seen int
		unstepped   []string
	}{{1, 1, nil}, {1, 0, []string{"early", "late"}}, {1, 1, nil}} {
		var found []string
		for _, u := range acts[i].Unstepped {
			_, path, _ := strings.Cut(u, dir+"/")
			if name, _, ok := strings.Cut(path, ":"); ok {
				found = append(found, name)
			}
		}
		if a := acts[i]; !slices.Equal(found, want.unstepped) || a.Seen != want.seen || len(a.Steps) != want.steps {
			t.Errorf("%s: %+v, want %+v", a.Name, a, want)
		}
	}
}
