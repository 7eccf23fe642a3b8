package libcnm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/libcnm/libcnm/internal/step"
)

// cgroup2Magic is CGROUP2_SUPER_MAGIC of linux/magic.h.
const cgroup2Magic = 0x63677270

// checkCgroup refuses what cannot be a cgroup v2 directory. It reports whether the group is still to be made.
func checkCgroup(path string) (absent bool, err error) {
	dir := path
	if fi, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		absent, dir = true, filepath.Dir(path)
	} else if err != nil {
		return false, fmt.Errorf("cgroup: %w: %w", err, ErrInvalid)
	} else if !fi.IsDir() {
		return false, fmt.Errorf("cgroup %s is not a directory: %w", path, ErrInvalid)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false, fmt.Errorf("cgroup %s: its parent: %w: %w", path, err, ErrInvalid)
	}
	if fs.Type != cgroup2Magic {
		return false, fmt.Errorf("cgroup %s is not in a cgroup v2 hierarchy: %w", path, ErrUnsupported)
	}
	return absent, nil
}

// makeCgroup makes the group if it is to be ours. One that is there is ErrExists.
func (sb *Sandbox) makeCgroup() error {
	if !sb.rec.CgroupOwned {
		return nil
	}
	err := step.Do("make cgroup", func() error { return os.Mkdir(sb.rec.Cgroup, 0o755) })
	switch {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("make cgroup: %w: %w", err, ErrExists)
	case err != nil:
		return fmt.Errorf("make cgroup: %w: %w", err, ErrUnavailable)
	}
	return nil
}

// removeCgroup removes the group if we made it. One with processes cannot be removed.
func (sb *Sandbox) removeCgroup() error {
	err := sb.closeCgroup()
	if sb.rec.CgroupOwned {
		failed := step.Do("remove cgroup", func() error { return os.Remove(sb.rec.Cgroup) })
		if failed != nil && !errors.Is(failed, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cgroup: %w: %w", failed, ErrInUse))
		}
	}
	return err
}

func (sb *Sandbox) closeCgroup() error {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.cgroup == nil {
		return nil
	}
	err := sb.cgroup.Close()
	sb.cgroup = nil
	return err
}

// cgroupFD is the open directory of the sandbox's cgroup, -1 without one. It stays open until the sandbox is deleted or the
// controller closed.
func (sb *Sandbox) cgroupFD() (int, error) {
	if sb.rec.Cgroup == "" {
		return -1, nil
	}
	sb.mu.Lock()
	defer sb.mu.Unlock()
	if sb.cgroup == nil {
		f, err := os.Open(sb.rec.Cgroup)
		if err != nil {
			return -1, fmt.Errorf("open cgroup: %w: %w", err, ErrUnavailable)
		}
		sb.cgroup = f
	}
	return int(sb.cgroup.Fd()), nil
}
