package link

import (
	"errors"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
)

// What was deleted is gone when DeleteLink returns, from both namespaces, and its name is free: nothing waits for the
// kernel to clean up, however fast it goes on.
func TestDeletedIsGoneAtOnce(t *testing.T) {
	testutil.NoLeaks(t)
	ns, inside := sandbox(t)
	_, host := sandbox(t)
	v := Veth{Name: "cnmv1", Alias: mark("e"), Peer: VethPeer{Name: "eth0", NS: ns}}
	for range 2 * maxDeleting { // so many that some are waited for
		must(t, host.EnsureVeth(t.Context(), v))
		must(t, host.DeleteLink(t.Context(), v.Name, v.Alias))
		for _, end := range []struct {
			at   *Handle
			name string
		}{{host, v.Name}, {inside, v.Peer.Name}} {
			if l, err := end.at.Link(t.Context(), end.name); !errors.Is(err, errdefs.ErrNotFound) {
				t.Fatalf("%s after it was deleted: %+v, %v", end.name, l, err)
			}
		}
	}
}

func TestCloseWaitsForDeletions(t *testing.T) {
	testutil.NoLeaks(t)
	ns, _ := sandbox(t)
	for range 10 {
		h, err := Open(ns)
		must(t, err)
		must(t, h.EnsureVeth(t.Context(), Veth{Name: "cnmv1", Alias: mark("e"), Peer: VethPeer{Name: "p"}}))
		var both sync.WaitGroup
		both.Go(func() {
			// It began before Close and succeeds, or after and is refused.
			if err := h.DeleteLink(t.Context(), "cnmv1", mark("e")); err != nil && !errors.Is(err, errdefs.ErrClosed) {
				t.Errorf("delete while closing: %v", err)
			}
		})
		both.Go(func() {
			if err := h.Close(); err != nil {
				t.Errorf("close while deleting: %v", err)
			}
		})
		both.Wait()
		if n := len(deletions); n != 0 {
			t.Errorf("%d deletions still run after Close", n)
		}
		// By a handle of its own, whose Close waits too: what goes on in the next round is that round's.
		last, err := Open(ns)
		must(t, err)
		must(t, last.DeleteLink(t.Context(), "cnmv1", mark("e")))
		must(t, last.Close())
	}
}
