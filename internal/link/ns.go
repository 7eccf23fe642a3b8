package link

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// NS is an open network namespace: it exists until Close even if everything else lets go of it. Methods other than Close
// are safe for concurrent use.
type NS struct {
	file *os.File
	id   NSIdentity
}

// NSIdentity tells namespaces apart: equal for two NS exactly when they are one namespace.
type NSIdentity struct{ Dev, Ino uint64 }

// OpenNS opens the network namespace at path. An absent path is ErrNotFound, anything else than a network namespace
// ErrInvalid. The caller closes it.
func OpenNS(path string) (*NS, error) {
	const op = "open network namespace"
	// O_NONBLOCK: path may be something else, a FIFO say, whose open would wait.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, opError(op, path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	if !isNetNS(fd) {
		file.Close()
		return nil, classed(op, path, errdefs.ErrInvalid, "not a network namespace")
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		file.Close()
		return nil, opError(op, path, err)
	}
	return &NS{file: file, id: NSIdentity{Dev: st.Dev, Ino: st.Ino}}, nil
}

// HostNS opens the namespace of this process.
func HostNS() (*NS, error) { return OpenNS("/proc/self/ns/net") }

// FD is the open descriptor, valid until Close.
func (n *NS) FD() int { return int(n.file.Fd()) }

// Identity tells whether two NS are the same namespace.
func (n *NS) Identity() NSIdentity { return n.id }

// Close lets go of the namespace.
func (n *NS) Close() error { return n.file.Close() }

// Do runs fn on an OS thread inside the namespace and returns its error. Goroutines that fn starts are not inside. A
// thread that cannot be brought back afterwards is not used again.
func (n *NS) Do(fn func() error) error {
	return inNS(func() error {
		return n.withFD("enter network namespace", func(fd int) error { return unix.Setns(fd, unix.CLONE_NEWNET) })
	}, fn)
}

// RaiseLoopback makes 127.0.0.1 and ::1 work in the namespace, as CreateNS does in those it makes. Doing it again changes
// nothing.
func (n *NS) RaiseLoopback() error { return n.Do(loopbackUp) }

// Hold opens the namespace another time, and not by the mount that n was opened by, which it would keep busy.
func (n *NS) Hold() (held *NS, err error) {
	err = n.Do(func() error {
		held, err = OpenNS("/proc/thread-self/ns/net")
		return err
	})
	return held, err
}

// dup gives an NS of its own to whoever must keep it longer than the caller does.
func (n *NS) dup() (*NS, error) {
	own := &NS{id: n.id}
	err := n.withFD("duplicate network namespace", func(fd int) error {
		fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			own.file = os.NewFile(uintptr(fd), n.file.Name())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return own, nil
}

// withFD runs fn with the descriptor, which a concurrent Close leaves open until fn returns.
func (n *NS) withFD(op string, fn func(fd int) error) error {
	raw, err := n.file.SyscallConn()
	if err != nil {
		return opError(op, n.file.Name(), err)
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = fn(int(fd)) }); err != nil {
		return opError(op, n.file.Name(), err)
	}
	return opError(op, n.file.Name(), result)
}

// isNetNS asks the kernel what fd is: a file of nsfs whose type is the network namespace.
func isNetNS(fd int) bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		return false
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	return err == nil && kind == unix.CLONE_NEWNET
}
