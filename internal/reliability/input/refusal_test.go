package input

import (
	"errors"
	"strings"
	"testing"
)

// wantRefusal wants no error if says is empty, else one of the class that says it and names what it is about.
func wantRefusal(t *testing.T, err error, says string, class error, names ...string) {
	t.Helper()
	if says == "" {
		if err != nil {
			t.Errorf("%v, want it accepted", err)
		}
		return
	}
	if !errors.Is(err, class) {
		t.Fatalf("%v, want %v", err, class)
	}
	for _, part := range append(names, says) {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if !printable(err.Error()) {
		t.Errorf("the text may damage a log: %.2000q", err)
	}
}
