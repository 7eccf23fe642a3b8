package steps

import (
	"slices"
	"testing"
)

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
	for name := range Apart {
		if !slices.Contains(names, name) {
			t.Errorf("%q is in the table, and not in the source", name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return seen[name] || Apart[name] != "" })
}
