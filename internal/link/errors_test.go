package link

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// TestPathsThatCannotBe: a path through a file, a loop of links or a directory is the caller's mistake.
func TestPathsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file, loop := filepath.Join(dir, "file"), filepath.Join(dir, "loop")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(loop, loop)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "x"), loop, dir} {
		if _, err := OpenNS(path); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", path, err)
		}
	}
}
