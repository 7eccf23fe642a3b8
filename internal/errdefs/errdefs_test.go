package errdefs_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

var classes = []error{
	errdefs.ErrNotFound, errdefs.ErrExists, errdefs.ErrInUse, errdefs.ErrInvalid, errdefs.ErrExhausted,
	errdefs.ErrConflict, errdefs.ErrUnsupported, errdefs.ErrUnavailable, errdefs.ErrClosed,
}

// A caller decides by the class, so no error may be of a class it was not given.
func TestClassesAreDistinct(t *testing.T) {
	texts := map[string]bool{}
	for i, class := range classes {
		if texts[class.Error()] {
			t.Errorf("two classes read %q", class)
		}
		texts[class.Error()] = true
		wrapped := fmt.Errorf("apply endpoint 3f2a: %w", class)
		for j, other := range classes {
			if errors.Is(wrapped, other) != (i == j) {
				t.Errorf("errors.Is(%q, %q) is %t", wrapped, other, i != j)
			}
		}
	}
}

func ExampleErrInvalid() {
	err := fmt.Errorf("subnet 10.0.0.1/24: host bits are set: %w", errdefs.ErrInvalid)
	fmt.Println(err, errors.Is(err, errdefs.ErrInvalid))
	// Output: subnet 10.0.0.1/24: host bits are set: invalid argument true
}
