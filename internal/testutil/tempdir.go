package testutil

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	tempPattern = "cnm-test-"
	lockName    = ".lock"
)

// tempDir is the directory for temporary files inside. It is locked while its owner lives, so that a later run can tell
// the directory of a killed one and remove it.
type tempDir struct {
	path string
	lock *os.File
}

func newTempDir() (*tempDir, error) {
	if err := removeStale(os.TempDir()); err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp("", tempPattern+"*")
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &tempDir{path: path, lock: lock}, nil
}

func (d *tempDir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// lockDir marks path as owned by this process. The lock file gets its name only once it is locked, so that a file of
// that name without a lock always means a dead owner.
func lockDir(path string) (*os.File, error) {
	name := filepath.Join(path, lockName)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if err := os.Rename(name+".new", name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// removeStale removes the directories in dir whose owners were killed.
func removeStale(dir string) error {
	locks, err := filepath.Glob(filepath.Join(dir, tempPattern+"*", lockName))
	if err != nil {
		return err
	}
	for _, name := range locks {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue // another user's, or gone meanwhile
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = os.RemoveAll(filepath.Dir(name))
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("remove what a killed run left: %w", err)
		}
	}
	return nil
}
