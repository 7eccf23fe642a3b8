package link

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Error is a kernel operation that failed. errors.Is finds both the errno and the class of internal/errdefs.
type Error struct {
	Op     string // "create veth"
	Object string // "cnmv0123456789a"
	Err    error

	class error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Object, e.Err) }

// Unwrap gives the kernel's error and its class.
func (e *Error) Unwrap() []error {
	if e.class == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.class}
}

// opError names the operation and classifies err by its errno. A nil err gives nil.
func opError(op, object string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Object: object, Err: err, class: classOf(err)}
}

// classed is an Error whose class is known from more than the errno.
func classed(op, object string, class error, format string, args ...any) error {
	return &Error{Op: op, Object: object, Err: fmt.Errorf(format, args...), class: class}
}

func classOf(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return errdefs.ErrNotFound
		case errors.Is(err, os.ErrClosed):
			return errdefs.ErrClosed
		case errors.Is(err, netlink.ErrDumpInterrupted):
			return errdefs.ErrUnavailable
		}
		return nil
	}
	switch errno {
	case unix.EEXIST, unix.ENOTUNIQ:
		return errdefs.ErrExists
	case unix.ENODEV, unix.ENOENT, unix.ENXIO, unix.ESRCH, unix.EADDRNOTAVAIL:
		return errdefs.ErrNotFound
	case unix.EPERM, unix.EACCES, unix.EROFS, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.ENOSYS:
		return errdefs.ErrUnsupported
	case unix.ENOSPC, unix.ENOBUFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EXFULL, unix.EDQUOT:
		return errdefs.ErrExhausted
	case unix.EINVAL, unix.ERANGE, unix.EMSGSIZE, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENAMETOOLONG,
		unix.ENOTDIR, unix.EISDIR, unix.ELOOP:
		return errdefs.ErrInvalid
	case unix.EBUSY:
		return errdefs.ErrInUse
	case unix.EAGAIN, unix.ENETDOWN, unix.EINTR:
		return errdefs.ErrUnavailable
	}
	return nil
}
