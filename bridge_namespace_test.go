package libcnm_test

import (
	"os"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// TestNamespaceGoneMeanwhile takes a sandbox's namespace away while no controller runs: it gets a new one, with all that was in
// the old one.
func TestNamespaceGoneMeanwhile(t *testing.T) {
	f := newFixture(t, "node1")
	c := f.open(t)
	n := bridgeNetwork(t, c, "web")
	joined(t, c, "a", n)
	b, eps := joined(t, c, "b", n)
	must(t, c.Close())
	run(t, testutil.HomeNS(t), "umount", b.Key())
	must(t, os.Remove(b.Key()))

	c = f.open(t)
	must(t, reach(t.Context(), inside(t, lookup(t, c, "a")), addrsOf(eps[0])...))
	found, err := c.Check(t.Context())
	must(t, err)
	for _, d := range found {
		t.Errorf("after New: %s", d)
	}
	for _, container := range []string{"a", "b"} {
		must(t, lookup(t, c, container).Delete(t.Context()))
	}
}
