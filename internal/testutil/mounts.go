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
	if err := mountTmpfs("/run"); err != nil {
		return err
	}
	// On most systems /var/run is a link to /run; where it is a directory, lock and pid files must not leak out there.
	if info, err := os.Lstat("/var/run"); err == nil && info.IsDir() {
		if err := mountTmpfs("/var/run"); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/netns", 0o755)
}

// mountSys mounts the sysfs of the current network namespace, keeping the cgroup hierarchies where they were.
func mountSys() error {
	const sys, cgroup = "/sys", "/sys/fs/cgroup"
	hold, err := os.Open(cgroup)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", cgroup, err)
	}
	if err := unix.Mount("sysfs", sys, "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", sys, err)
	}
	if hold == nil {
		return nil
	}
	defer hold.Close()
	from := fmt.Sprintf("/proc/self/fd/%d", hold.Fd())
	if err := unix.Mount(from, cgroup, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s again: %w", cgroup, err)
	}
	return nil
}

func mountTmpfs(path string) error {
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", path, err)
	}
	return nil
}
