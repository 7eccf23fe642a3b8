package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

const (
	lockFile    = "lock"
	journalFile = dataFile + ".journal"
)

// auditDirs looks for files and mounts that belong to nothing, and for locks that nobody should hold.
func (a *audit) auditDirs() error {
	owned := map[string]bool{}
	all := map[string]bool{}
	for id, sb := range a.sandboxes {
		owned[id], all[id] = sb.Owned, true
	}
	data, run := a.host.DataDir, a.host.RunDir
	err := errors.Join(
		a.auditDir(data, func(name string) bool {
			// A store that was damaged is kept under a name of its own, for the administrator to look at.
			return name == dataFile || name == journalFile || strings.HasPrefix(name, dataFile) && strings.Contains(name, ".damaged-")
		}),
		a.auditDir(run, func(name string) bool {
			return name == lockFile || name == "netns" || name == "sandboxes" || filepath.Join(run, name) == data
		}),
		a.auditDir(filepath.Join(run, "netns"), func(name string) bool { return owned[name] }),
		a.auditDir(filepath.Join(run, "sandboxes"), func(name string) bool { return all[name] }),
	)
	for id := range all {
		err = errors.Join(err, a.auditDir(filepath.Join(run, "sandboxes", id), func(name string) bool {
			return name == "hostname" || name == "hosts" || name == "resolv.conf"
		}))
	}
	if err = errors.Join(err, a.auditMounts(owned)); err != nil || !a.host.Closed {
		return err
	}
	return errors.Join(a.auditLock(filepath.Join(run, lockFile)), a.auditLock(filepath.Join(data, dataFile)))
}

func (a *audit) auditDir(dir string, known func(string) bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read directory: %w: %w", err, errdefs.ErrUnavailable)
	}
	for _, e := range entries {
		if !known(e.Name()) {
			a.add(Stray, "file "+filepath.Join(dir, e.Name()), "nothing recorded has it")
		}
	}
	return nil
}

// auditMounts looks at what is mounted in the run directory: each namespace of ours once, and nothing else.
func (a *audit) auditMounts(owned map[string]bool) error {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w: %w", err, errdefs.ErrUnavailable)
	}
	count := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point, deleted := strings.CutSuffix(fields[4], "//deleted") // of a file that is gone: proc(5)
		if !strings.HasPrefix(point, a.host.RunDir+"/") {
			continue
		}
		dir, id := filepath.Split(point)
		if deleted || dir != filepath.Join(a.host.RunDir, "netns")+"/" || !owned[id] || !strings.HasPrefix(fields[3], "net:") {
			a.add(Stray, "mount "+point, "%s, and no sandbox has it", fields[3])
			continue
		}
		count[id]++
	}
	for id, is := range owned {
		if point := filepath.Join(a.host.RunDir, "netns", id); is && count[id] == 0 {
			a.add(Missing, "mount "+point, "of sandbox %s", id)
		} else if count[id] > 1 {
			a.add(Duplicate, "mount "+point, "%d on top of each other", count[id])
		}
	}
	return nil
}

// auditLock takes a lock for a moment, to see whether somebody has it.
func (a *audit) auditLock(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open lock: %w: %w", err, errdefs.ErrUnavailable)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		a.add(Stray, "lock "+path, "it is held, and no controller lives")
		err = nil
	}
	return errors.Join(err, file.Close())
}
