package testutil

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// space is the set of namespaces that makes a host: network, mount and UTS. No process is needed to keep them; they go
// when their files are closed and the last process in them has ended.
type space struct {
	net, mnt, uts *os.File
}

// newSpace makes a space with the given hostname, whose /run and /var/lib are dir/run and dir/lib.
func newSpace(hostname, dir string) (*space, error) {
	s := &space{}
	err := throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set hostname: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := mountSys(); err != nil {
			return err
		}
		for _, bind := range [][2]string{{"lib", "/var/lib"}, {"run", "/run"}} { // /run last: dir is in it
			if err := unix.Mount(filepath.Join(dir, bind[0]), bind[1], "", unix.MS_BIND, ""); err != nil {
				return fmt.Errorf("mount %s: %w", bind[1], err)
			}
		}
		if err := loUp(); err != nil {
			return err
		}
		for kind, file := range map[string]**os.File{"net": &s.net, "mnt": &s.mnt, "uts": &s.uts} {
			f, err := os.Open("/proc/thread-self/ns/" + kind)
			if err != nil {
				return err
			}
			*file = f
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *space) close() error {
	var errs []error
	for _, f := range []*os.File{s.net, s.mnt, s.uts} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// command prepares a program that runs inside.
func (s *space) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + procFD(s.net), "--mount=" + procFD(s.mnt),
		"--uts=" + procFD(s.uts), "--", name}, args...)...)
}

// open opens a file by the name it has inside, where mounts may be that are not seen here.
func (s *space) open(path string) (file *os.File, err error) {
	err = throwaway(func() error {
		// A thread may enter a mount namespace only if it shares its root and working directory with no other.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Setns(int(s.mnt.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mount namespace: %w", err)
		}
		file, err = os.Open(path)
		return err
	})
	return file, err
}
