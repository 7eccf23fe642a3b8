package testutil

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// setupMounts gives a fresh mount namespace the /proc, /sys and /run that belong to its other namespaces.
func setupMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := mountSys(); err != nil {
		return err
	}
	// On most systems /var/run is a link to /run; where it is a directory, lock and pid files must not leak out there.
	runs := []string{"/run"}
	if info, err := os.Lstat("/var/run"); err == nil && info.IsDir() {
		runs = append(runs, "/var/run")
	}
	for _, path := range runs {
		if err := keeping(os.TempDir(), func() error { return mountTmpfs(path) }); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/netns", 0o755)
}

// mountSys mounts the sysfs of the current network namespace, with the cgroup hierarchies where they were.
func mountSys() error {
	return keeping("/sys/fs/cgroup", func() error {
		if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mount /sys: %w", err)
		}
		return nil
	})
}

// keeping calls mount, and makes dir what it was if that has hidden it.
func keeping(dir string, mount func() error) error {
	old, err := os.Open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mount()
	case err != nil:
		return err
	}
	defer old.Close()
	if err := mount(); err != nil {
		return err
	}
	before, err := old.Stat()
	if err != nil {
		return err
	}
	if after, err := os.Stat(dir); err == nil && os.SameFile(before, after) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", old.Fd()), dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s again: %w", dir, err)
	}
	return nil
}

func mountTmpfs(path string) error {
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", path, err)
	}
	return nil
}
