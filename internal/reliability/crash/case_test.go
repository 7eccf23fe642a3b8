package crash

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
)

// ending is how a process that ran an operation ended.
type ending struct {
	died bool
	at   moment   // that it died at
	seen []moment // all, of one that lived
}

// host is where an operation is tried.
func (l *lane) host(op *operation) *testutil.Host {
	if op.spare || op.fresh {
		return l.spare
	}
	return l.main
}

// try is one case.
func (l *lane) try(t *testing.T, op *operation, driver string, aim target) ending {
	t.Helper()
	h := l.host(op)
	l.revive(t)
	middle := 0
	if op.crash != "" {
		middle = l.record(t, find(op.crash), driver) / 2
	}
	l.failed = true
	if op.fresh {
		l.renew()
	}
	l.prepare(t, h, op, driver, middle)
	end := l.run(t, h, op, driver, aim)
	if end.died {
		took := l.recover(t, h)
		t.Logf("died %v, repaired after %v", end.at, took.Round(time.Millisecond))
	} else {
		l.settle(t, h, look{})
	}
	var at joined
	l.call(t, h, "repeat", task{Operation: op.name, Driver: driver, At: l.at[h]}, &at)
	l.settle(t, h, look{})
	if len(at.Reach) > 0 {
		ns := h.OpenNS(t, at.Key)
		for _, a := range at.Reach {
			if err := reach(t, ns, a); err != nil {
				t.Errorf("after the operation: %v", err)
			}
		}
	}
	l.follow(t, driver)
	l.undo(t, h)
	l.follow(t, driver)
	l.bystanders.check(t)
	l.failed = t.Failed()
	return end
}

// follow waits until the other host agrees with the records that a case has changed. Networks of bridges are no business
// of its.
func (l *lane) follow(t *testing.T, driver string) {
	t.Helper()
	if l.other != nil && driver == "ovs-vxlan" {
		l.settle(t, l.other, look{})
	}
}

// prepare brings the host to where the operation begins, by way of a death at a moment of another if it is to.
func (l *lane) prepare(t *testing.T, h *testutil.Host, op *operation, driver string, middle int) {
	t.Helper()
	l.call(t, h, "prepare", task{Operation: op.name, Driver: driver, At: l.at[h]}, nil)
	if op.crash != "" {
		if end := l.run(t, h, find(op.crash), driver, target{Index: middle}); !end.died {
			t.Fatalf("%s has not died at moment %d", op.crash, middle)
		}
		h.Restart(t)
	}
	if op.reboot {
		h.Kill9(t)
		reboot(t, h)
		h.Start(t)
	}
}

// run runs the operation in the host's process.
func (l *lane) run(t *testing.T, h *testutil.Host, op *operation, driver string, aim target) ending {
	t.Helper()
	note := filepath.Join(h.Dir, deathNote)
	if err := os.Remove(note); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var end ending
	err := h.Call(t.Context(), "run", task{Operation: op.name, Driver: driver, At: l.at[h], Aim: aim}, &end.seen)
	if err == nil {
		return end
	}
	raw, missing := os.ReadFile(note)
	if missing != nil || !errors.Is(err, errdefs.ErrUnavailable) {
		t.Fatalf("run: %v", err)
	}
	if err := json.Unmarshal(raw, &end.at); err != nil {
		t.Fatalf("death note: %v", err)
	}
	end.died = true
	l.figures.Kills++
	return end
}

// find finds an operation by its name.
func find(name string) *operation {
	i := slices.IndexFunc(operations, func(op operation) bool { return op.name == name })
	return &operations[i]
}
