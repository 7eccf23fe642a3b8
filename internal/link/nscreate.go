package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

// CreateNS makes a network namespace, with its loopback up, that lasts until DeleteNS: it is bind-mounted on a new file at
// path. Missing directories are made for root only. If anything is at path already, a leftover of a crash too,
// that is ErrExists and nothing changes.
func CreateNS(path string) error {
	held, err := createNS(path, func(*NS) error { return nil })
	if err != nil {
		return err
	}
	return held.Close()
}

// CreateHeldNS is CreateNS and Hold in one. The new namespace is known to the Handle's by a number before anything happens in it
// that somebody could listen to.
func (h *Handle) CreateHeldNS(ctx context.Context, path string) (held *NS, err error) {
	// The connection comes first: one that is made on a thread in the new namespace is that one's.
	err = h.use(ctx, func(c *conn) (err error) {
		held, err = createNS(path, func(ns *NS) error { return c.changes.apply(numberNS(ns)) })
		return err
	})
	return held, err
}

// createNS calls introduce before it goes on with the new namespace.
func createNS(path string, introduce func(*NS) error) (held *NS, err error) {
	const own = "/proc/thread-self/ns/net"
	enter := func() error {
		return step.Do("create namespace", func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	}
	err = placeNS("create network namespace", path, func() error {
		return inNS(enter, func() (err error) {
			if held, err = OpenNS(own); err != nil {
				return err
			}
			if err := introduce(held); err != nil {
				return err
			}
			if err := loopbackUp(); err != nil {
				return err
			}
			return mountNS(own, path)
		})
	})
	if err != nil && held != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, err
}

// Remount gives a namespace that was unmounted, but that somebody has open, its place back. It is to path what CreateNS
// is.
func (n *NS) Remount(path string) error {
	const op = "mount network namespace"
	return placeNS(op, path, func() error {
		return n.withFD(op, func(fd int) error { return mountNS(fmt.Sprintf("/proc/self/fd/%d", fd), path) })
	})
}

func mountNS(source, path string) error {
	return step.Do("mount namespace", func() error { return unix.Mount(source, path, "", unix.MS_BIND, "") })
}

// placeNS makes the file that mount mounts a namespace on, and removes it if that fails.
func placeNS(op, path string, mount func() error) (err error) {
	if !filepath.IsAbs(path) {
		return classed(op, path, errdefs.ErrInvalid, "not an absolute path")
	}
	err = step.Do("make namespace directory", func() error { return os.MkdirAll(filepath.Dir(path), 0o700) })
	if err != nil {
		return opError(op, path, err)
	}
	var file *os.File
	err = step.Do("create namespace file", func() (err error) {
		file, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
		return err
	})
	if err != nil {
		return opError(op, path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, DeleteNS(path))
		}
	}()
	if err := file.Close(); err != nil {
		return opError(op, path, err)
	}
	return opError(op, path, mount())
}

// DeleteNS undoes CreateNS; the namespace ends when its last process and last open NS do. What is absent is no error. A
// file that is neither a mounted network namespace nor the empty file of an unfinished CreateNS stays: ErrConflict.
func DeleteNS(path string) error {
	const op = "delete network namespace"
	mounted, err := inspectNSFile(path)
	for mounted {
		unmount := step.Do("unmount namespace", func() error {
			return unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		})
		// Looked at again also after an error: another DeleteNS may have been faster. Mounts may be stacked, too.
		mounted, err = inspectNSFile(path)
		if mounted && unmount != nil {
			return opError(op, path, unmount)
		}
	}
	if err == nil {
		err = step.Do("remove namespace file", func() error { return os.Remove(path) })
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return opError(op, path, err)
}

// inspectNSFile reports whether a network namespace is mounted at path. Anything but that or an empty plain file is an
// error.
func inspectNSFile(path string) (mounted bool, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) {
		return false, classed("inspect", path, errdefs.ErrConflict, "a symbolic link")
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if isNetNS(fd) {
		return true, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0 {
		return false, classed("inspect", path, errdefs.ErrConflict, "not a network namespace")
	}
	return false, nil
}

// loopbackUp raises lo of the calling thread's namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return opError("raise", "lo", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return opError("raise", "lo", err)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return opError("raise", "lo", step.Do("raise loopback", func() error {
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
	}))
}
