package storefault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	dataDir = "/var/lib/libcnm"
	dbFile  = dataDir + "/libcnm.db"
)

// TestLocalStoreFails damages the local file of one host and fills the disk of the other, under traffic.
func TestLocalStoreFails(t *testing.T) {
	t.Parallel()
	full, damaged := 0, 1
	w := newWorld(t, 2, nodeTTL, testutil.HostsOptions{EtcdMembers: 1}, func(i int, h *testutil.Host) {
		if i == full {
			must(t, os.MkdirAll(filepath.Join(h.Dir, "lib/libcnm"), 0o700))
			h.Run(t, "mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", dataDir)
		}
	})
	h := w.Hosts[damaged]
	for i := range 30 { // so that the file has pages of every kind
		must(t, h.Call(t.Context(), "endpoint.create", nodeEndpoint(home(h), fmt.Sprint("filler", i)), nil))
	}
	t.Run("disk full", func(t *testing.T) { w.diskFull(t, w.Hosts[full]) })
	t.Run("read only", func(t *testing.T) { w.readOnly(t, w.Hosts[full]) })
	t.Run("damaged", func(t *testing.T) { w.damaged(t, h) })
	t.Run("rebuilt", func(t *testing.T) { w.rebuilt(t, h) })
	t.Run("rebuilt without a journal", func(t *testing.T) { w.rebuiltBlind(t, h) })
}

// diskFull: calls fail and leave nothing; what does not need the local store goes on; with room again, all is well.
func (w *world) diskFull(t *testing.T, h *testutil.Host) {
	tr, calm := w.traffic(t, true), w.calm(t)
	w.sum.Faults++
	const filler = dataDir + "/filler"
	if out, err := h.Command("dd", "if=/dev/zero", "of="+filler, "bs=4096").CombinedOutput(); err == nil {
		t.Fatalf("the disk cannot be filled: %s", out)
	}
	wait(t, hold)
	calm()
	var made []string
	var refused string
	for refused == "" {
		name := fmt.Sprint("full", len(made))
		if w.try(t, h, "sandbox.create", name) {
			made = append(made, name)
		} else {
			refused = name
		}
	}
	ep := nodeEndpoint(home(h), refused)
	if w.try(t, h, "endpoint.create", ep) {
		t.Error("an endpoint of the host's own could be made on a full disk")
	}
	cluster := nodeEndpoint(blue, "full"+h.Name)
	w.do(t, h, "endpoint.create", cluster) // it is the cluster's
	w.do(t, h, "endpoint.delete", cluster)
	var list []nodeagent.Sandbox
	must(t, h.Call(t.Context(), "sandbox.list", nil, &list))
	for _, sb := range list {
		if sb.Container == refused {
			t.Errorf("sandbox %s is there although it was refused", refused)
		}
	}
	h.Run(t, "rm", filler)
	must(t, h.Call(t.Context(), "sandbox.create", refused, nil))
	must(t, h.Call(t.Context(), "endpoint.create", ep, nil))
	must(t, h.Call(t.Context(), "endpoint.delete", ep, nil))
	for _, name := range append(made, refused) {
		must(t, h.Call(t.Context(), "sandbox.delete", name, nil))
	}
	tr.stop(t)
	w.sound(t)
}

// readOnly: New names the file and changes nothing.
func (w *world) readOnly(t *testing.T, h *testutil.Host) {
	tr, calm := w.traffic(t, true), w.calm(t)
	w.sum.Faults++
	h.Kill9(t)
	h.Run(t, "mount", "-o", "remount,ro", dataDir)
	h.Start(t)
	w.refused(t, h, libcnm.ErrUnavailable, "read-only")
	h.Run(t, "mount", "-o", "remount,rw", dataDir)
	must(t, w.open(t, h, false))
	calm()
	tr.stop(t)
	w.sound(t)
}

// refused expects New to fail with an error that names the file.
func (w *world) refused(t *testing.T, h *testutil.Host, class error, parts ...string) {
	t.Helper()
	err := w.open(t, h, false)
	if !errors.Is(err, class) {
		t.Fatalf("open: %v, want %v", err, class)
	}
	for _, part := range append(parts, dbFile) {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
}

// The kinds of pages of bbolt, by the flags in their headers, which are 16 bytes. Behind them come the magic number, the
// numbers of free pages, the flags of the first record, or the place of the first key and, at 24, the page it is on.
const (
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
)

// flip flips a bit at the place in every page of a kind. Some of the pages may be of the past; one is not.
func flip(kind uint16, place int) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		t.Helper()
		data, err := os.ReadFile(path)
		must(t, err)
		size, found := os.Getpagesize(), 0
		for at := 0; at+size <= len(data); at += size {
			if binary.NativeEndian.Uint16(data[at+8:]) == kind {
				data[at+place] ^= 0x10
				found++
			}
		}
		if found == 0 {
			t.Fatalf("the file has no page of kind %#x", kind)
		}
		must(t, os.WriteFile(path, data, 0o600))
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, info.Size()/2))
}

func gone(t *testing.T, path string) { t.Helper(); must(t, os.Remove(path)) }

// damaged: New refuses every kind of damage, and leaves the bytes alone; the data plane does not notice.
func (w *world) damaged(t *testing.T, h *testutil.Host) {
	tr, calm := w.traffic(t, true), w.calm(t)
	path := filepath.Join(h.Dir, "lib/libcnm/libcnm.db")
	h.Kill9(t)
	good, err := os.ReadFile(path)
	must(t, err)
	h.Start(t)
	for _, tc := range []struct {
		name  string
		spoil func(*testing.T, string)
		class error
	}{
		{"cut", truncate, libcnm.ErrUnavailable},
		{"meta", flip(metaPage, 16), libcnm.ErrUnavailable},
		{"freelist", flip(freelistPage, 16), libcnm.ErrUnavailable},
		{"branch", flip(branchPage, 24), libcnm.ErrUnavailable},
		{"leaf", flip(leafPage, 16), libcnm.ErrUnavailable},
		{"gone", gone, libcnm.ErrUnavailable},
		{"text", func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("something else"), 0o600)) }, libcnm.ErrUnavailable},
		{"directory", func(t *testing.T, path string) { gone(t, path); must(t, os.Mkdir(path, 0o700)) }, libcnm.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.sum.Faults++
			tc.spoil(t, path)
			before, readErr := os.ReadFile(path)
			w.refused(t, h, tc.class)
			after, afterErr := os.ReadFile(path)
			if string(after) != string(before) || fmt.Sprint(afterErr) != fmt.Sprint(readErr) {
				t.Errorf("the file was changed: %v, then %v", readErr, afterErr)
			}
		})
		must(t, os.RemoveAll(path))
		must(t, os.WriteFile(path, good, 0o600))
	}
	must(t, w.open(t, h, false))
	calm()
	tr.stop(t)
	w.sound(t)
}

// rebuilt: from the journal everything is as it was, and nobody's traffic notices.
func (w *world) rebuilt(t *testing.T, h *testutil.Host) {
	tr, calm := w.traffic(t, true), w.calm(t)
	path := filepath.Join(h.Dir, "lib/libcnm/libcnm.db")
	for name, spoil := range map[string]func(*testing.T, string){"cut": truncate, "gone": gone} {
		t.Run(name, func(t *testing.T) {
			w.sum.Faults++
			var before, after []nodeagent.Sandbox
			must(t, h.Call(t.Context(), "sandbox.list", nil, &before))
			h.Kill9(t)
			spoil(t, path)
			h.Start(t)
			w.refused(t, h, libcnm.ErrUnavailable)
			must(t, w.open(t, h, true))
			must(t, h.Call(t.Context(), "sandbox.list", nil, &after))
			if diff := cmp.Diff(before, after, cmp.Comparer(func(a, b libcnm.EndpointInfo) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
				t.Errorf("sandboxes before and after:\n%s", diff)
			}
		})
	}
	calm()
	tr.stop(t)
	w.sound(t)
	w.local(t, h, "after")
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(aside) != 1 {
		t.Errorf("the damaged file was kept as %q, %v", aside, err)
	}
}

// rebuiltBlind: both copies are lost. The node is known to the cluster and goes on; what it alone knew is gone without a
// trace on the host, and traffic of others does not notice.
func (w *world) rebuiltBlind(t *testing.T, h *testutil.Host) {
	w.sum.Faults++
	other := w.Hosts[0]
	tr := &traffic{w: w}
	tr.ping(t, w.on(other, "a"), w.on(other, "b"))
	tr.ping(t, w.boxes["a"+home(other)], w.boxes["b"+home(other)])
	tr.stream(t, w.boxes["a"+home(other)], w.boxes["b"+home(other)])
	path := filepath.Join(h.Dir, "lib/libcnm/libcnm.db")
	h.Kill9(t)
	truncate(t, path)
	truncateJournal(t, path+".journal")
	h.Start(t)
	w.refused(t, h, libcnm.ErrUnavailable)
	must(t, w.open(t, h, true))
	var list []nodeagent.Sandbox
	must(t, h.Call(t.Context(), "sandbox.list", nil, &list))
	if len(list) > 0 {
		t.Errorf("sandboxes that nobody knows of: %+v", list)
	}
	if err := h.Call(t.Context(), "network.info", home(h), nil); !errors.Is(err, libcnm.ErrNotFound) {
		t.Errorf("the host's own network: %v, want ErrNotFound", err)
	}
	w.sound(t)
	for _, line := range []string{"local store was rebuilt", "node takes its record in the cluster back", "interface of which nothing is known is removed"} {
		text, err := os.ReadFile(filepath.Join(h.Dir, "agent.log"))
		if err != nil || !strings.Contains(string(text), line) {
			t.Errorf("the log does not say %q: %v", line, err)
		}
	}
	// The endpoints are the cluster's, and join again with their addresses.
	for _, n := range []string{"a", "b"} {
		old := w.on(h, n)
		var sb nodeagent.Sandbox
		must(t, h.Call(t.Context(), "sandbox.create", old.name, &sb))
		must(t, h.Call(t.Context(), "join", nodeagent.Join{Endpoint: nodeEndpoint(blue, old.name), Container: old.name}, nil))
		testutil.Eventually(t, settle, func() error { return w.on(other, n).reach(t, old) })
	}
	tr.stop(t)
	w.sound(t)
}

// truncateJournal cuts the journal where it must not be cut: in what it began with.
func truncateJournal(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte("nothing\n"), 0o600))
}
