package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/testutil"
)

// lane is a contender with the host it has to itself.
type lane struct {
	kind  string
	host  *testutil.Host
	setup setup
	next  int // number of the next endpoint
}

// newLanes opens one lane per kind on hosts of their own.
func newLanes(t testutil.TB, cfg config, kinds []string) []*lane {
	t.Helper()
	needDisk(t, os.TempDir())
	rig := testutil.NewHosts(t, len(kinds), testutil.HostsOptions{NoOVS: true})
	lanes := make([]*lane, len(kinds))
	for i, kind := range kinds {
		lanes[i] = newLane(t, cfg, rig.Hosts[i], kind, nil)
		lanes[i].open(t)
	}
	return lanes
}

// needDisk fails where commits would be free.
func needDisk(t testutil.TB, dir string) {
	t.Helper()
	kind, err := fileSystem(dir)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if kind == tmpfs {
		t.Fatalf("%s is on tmpfs, where a commit costs nothing: set TMPDIR to a directory on a disk", dir)
	}
}

func newLane(t testutil.TB, cfg config, h *testutil.Host, kind string, etcd []string) *lane {
	t.Helper()
	h.Start(t)
	return &lane{kind: kind, host: h, setup: setup{
		Kind: kind, DataDir: t.TempDir(), CNIDir: cfg.cni, Node: h.Name, Underlay: h.VTEP, Etcd: etcd,
	}}
}

func (l *lane) open(t testutil.TB) time.Duration {
	t.Helper()
	var took time.Duration
	if err := l.host.Call(t.Context(), "open", l.setup, &took); err != nil {
		t.Fatalf("%s: %v", l.kind, err)
	}
	return took
}

// up brings count more endpoints up.
func (l *lane) up(t testutil.TB, count, parallel int) (block, timing) {
	t.Helper()
	b := block{First: l.next, Count: count, Parallel: parallel}
	l.next += count
	return b, l.call(t, "up", b)
}

func (l *lane) down(t testutil.TB, b block) timing {
	t.Helper()
	return l.call(t, "down", b)
}

func (l *lane) call(t testutil.TB, method string, b block) timing {
	t.Helper()
	var took timing
	if err := l.host.Call(t.Context(), method, b, &took); err != nil {
		t.Fatalf("%s: %v", l.kind, err)
	}
	return took
}

func (l *lane) place(t testutil.TB, i int) place {
	t.Helper()
	var p place
	if err := l.host.Call(t.Context(), "place", i, &p); err != nil {
		t.Fatalf("%s: %v", l.kind, err)
	}
	return p
}

func (l *lane) memory(t testutil.TB) int64 {
	t.Helper()
	var bytes int64
	if err := l.host.Call(t.Context(), "memory", nil, &bytes); err != nil {
		t.Fatalf("%s: %v", l.kind, err)
	}
	return bytes
}

// settle returns when the kernel has removed every namespace that had lost its last user: it removes them one batch after
// the other in the background, so when one made and dropped now is gone, so are those before.
func settle(t testutil.TB) {
	t.Helper()
	const here, path = "settle0", "/run/netns/settle"
	err := func() error {
		ctx := t.Context()
		if err := link.CreateNS(path); err != nil {
			return err
		}
		ns, err := link.OpenNS(path)
		if err != nil {
			return err
		}
		home, err := link.Open(nil)
		if err != nil {
			return errors.Join(err, ns.Close())
		}
		owner := link.Owner{Driver: "bench", Network: "settle", Endpoint: "settle"}
		err = home.EnsureVeth(ctx, link.Veth{Name: here, Alias: owner.String(), Peer: link.VethPeer{Name: "eth0", NS: ns}})
		if err := errors.Join(err, ns.Close(), link.DeleteNS(path)); err != nil {
			return errors.Join(err, home.Close())
		}
		return errors.Join(testutil.Wait(ctx, time.Minute, func() error {
			_, err := home.Link(ctx, here)
			switch {
			case errors.Is(err, errdefs.ErrNotFound):
				return nil
			case err != nil:
				return err
			}
			return fmt.Errorf("the namespace of %s is still there", here)
		}), home.Close())
	}()
	if err != nil {
		t.Fatalf("wait for the kernel to settle: %v", err)
	}
}
