package steps

import (
	"slices"
	"testing"
)

// elsewhere are steps that no life here has, with who dies at them instead.
var elsewhere = map[string]string{
	"cut journal":              "store/local: TestDeathAtEveryStep",
	"remove temporary journal": "store/local: TestDeathAtEveryStep",
	"set damaged store aside":  "store/local: TestDeathAtEveryStep",
	"make cgroup":              "needs a cgroup hierarchy: TestCgroup of the root package",
	"remove cgroup":            "needs a cgroup hierarchy: TestCgroup of the root package",
	"revoke lease in etcd":     "the node's name is somebody else's: tests of the root package",
	"permit file":              "somebody has changed the mode of a file: internal/etcfiles",
}

// missing names the steps of the library's source that are not among the seen.
func missing(t *testing.T, seen map[string]bool) []string {
	t.Helper()
	names, err := InSource("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 40 {
		t.Errorf("only %d names of steps in the source", len(names))
	}
	for name := range elsewhere {
		if !slices.Contains(names, name) {
			t.Errorf("%q is in the table, and not in the source", name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return seen[name] || elsewhere[name] != "" })
}
