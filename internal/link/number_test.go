package link

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/testutil"
)

// A namespace that is made with a new connection has its number in the Handle's namespace, of which the connection is.
func TestNewNamespaceTakesNoConnectionAlong(t *testing.T) {
	h, err := Open(nil)
	must(t, err)
	other, err := Open(nil)
	must(t, err)
	must(t, other.EnsureBridge(t.Context(), Bridge{Name: "onlyhere", Alias: owner.String(), MAC: mac(1), Down: true}))
	var paths []string
	var making errgroup.Group
	held := make([]*NS, 2*maxIdle)
	for i := range held {
		path := filepath.Join(t.TempDir(), "ns")
		paths = append(paths, path)
		making.Go(func() (err error) {
			held[i], err = h.CreateHeldNS(t.Context(), path)
			return err
		})
	}
	must(t, making.Wait())
	for i, ns := range held {
		_, err := h.NumberOf(t.Context(), ns)
		must(t, err)
		must(t, ns.Close())
		must(t, DeleteNS(paths[i]))
	}
	for {
		h.mu.Lock()
		idle := len(h.idle)
		h.mu.Unlock()
		if idle == 0 {
			break
		}
		must(t, h.use(t.Context(), func(c *conn) error {
			_, err := c.link("onlyhere")
			c.changes.broken = true // so that it is another's turn
			return err
		}))
	}
	must(t, other.DeleteLink(t.Context(), "onlyhere", owner.String()))
	must(t, other.Close())
	must(t, h.Close())
}

// The newest sandbox has the lowest number; one that has a number keeps it.
func TestNewestNamespaceIsFoundFirst(t *testing.T) {
	here := testutil.NewNS(t)
	ns, err := OpenNS(here.Path())
	must(t, err)
	h, err := Open(ns)
	must(t, err)
	add := func(name string, there *NS) int {
		t.Helper()
		alias := Owner{Driver: "test", Network: "n", Endpoint: name}.String()
		must(t, h.EnsureVeth(t.Context(), Veth{Name: name, Alias: alias, Peer: VethPeer{Name: "to-" + name, NS: there}}))
		number, err := h.NumberOf(t.Context(), there)
		must(t, err)
		return number
	}
	var sandboxes []*NS
	var numbers []int
	for i := range 3 {
		there, err := OpenNS(testutil.NewNS(t).Path())
		must(t, err)
		sandboxes, numbers = append(sandboxes, there), append(numbers, add(fmt.Sprint("v", i), there))
	}
	if numbers[1] >= numbers[0] || numbers[2] >= numbers[1] {
		t.Errorf("numbers %v, want each below the one before", numbers)
	}
	if again := add("more", sandboxes[0]); again != numbers[0] {
		t.Errorf("with a second pair the number is %d, was %d", again, numbers[0])
	}
	path := filepath.Join(t.TempDir(), "ns")
	held, err := h.CreateHeldNS(t.Context(), path)
	must(t, err)
	if number, err := h.NumberOf(t.Context(), held); err != nil || number >= numbers[2] {
		t.Errorf("a new namespace has number %d, %v; want one below %d before a link leads there", number, err, numbers[2])
	}
	must(t, DeleteNS(path))
	for _, there := range append(sandboxes, held) {
		must(t, there.Close())
	}
	must(t, h.Close())
	must(t, ns.Close())
}
