package link

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

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
