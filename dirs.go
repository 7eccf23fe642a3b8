package libcnm

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/libcnm/libcnm/internal/step"
)

// others are the permission bits by which a group or everybody could write.
const others = 0o022

// ensureDir makes a directory for this user alone. One that is there already must be his, or root's, and nobody else may
// be able to change what is in it or put another in its place: who can, decides what namespaces and files we open.
func ensureDir(dir string) error {
	if err := step.Do("make directory", func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return fmt.Errorf("make directory: %w: %w", err, ErrUnavailable)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("directory %s: %w: %w", dir, err, ErrUnavailable)
	}
	fi, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("directory: %w: %w", err, ErrUnavailable)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("directory %s belongs to user %d, not to the user %d who runs this: %w", real, st.Uid, os.Geteuid(), ErrInvalid)
	}
	if fi.Mode()&others != 0 {
		return fmt.Errorf("directory %s can be written to by others (%s): %w", real, fi.Mode(), ErrInvalid)
	}
	for parent := filepath.Dir(real); ; parent = filepath.Dir(parent) {
		if fi, err = os.Stat(parent); err != nil {
			return fmt.Errorf("directory: %w: %w", err, ErrUnavailable)
		}
		// In a sticky directory, such as /tmp, only owners rename. Groups that may write to a parent are the host's choice.
		if fi.Mode()&(0o002|os.ModeSticky) == 0o002 {
			return fmt.Errorf("directory %s can be replaced by others, who can write to %s (%s): %w", real, parent, fi.Mode(), ErrInvalid)
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}
