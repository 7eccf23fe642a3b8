package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestCreateNSMakesALastingNamespaceWithLoopback(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	must(t, CreateNS(path))
	if err := CreateNS(path); !errors.Is(err, errdefs.ErrExists) {
		t.Errorf("created twice: %v, want ErrExists", err)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v, want mode 0700", st.Mode(), err)
	}
	ns, err := OpenNS(path)
	must(t, err)
	defer ns.Close()
	host, err := HostNS()
	must(t, err)
	defer host.Close()
	if ns.Identity() == host.Identity() {
		t.Error("the new namespace is the host's")
	}
	h := open(t, ns)
	if lo := mustLink(t, h, "lo"); !lo.Up {
		t.Error("lo is down")
	}
	must(t, DeleteNS(path))
	must(t, DeleteNS(path))
	if _, err := OpenNS(path); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("open after delete: %v, want ErrNotFound", err)
	}
	if _, err := h.Link(t.Context(), "lo"); err != nil {
		t.Errorf("an open handle keeps the namespace: %v", err)
	}
}

func TestDeleteNSKeepsWhatIsNotANamespace(t *testing.T) {
	dir := t.TempDir()
	file, empty, link := filepath.Join(dir, "file"), filepath.Join(dir, "empty"), filepath.Join(dir, "link")
	ns := filepath.Join(dir, "ns")
	must(t, os.WriteFile(file, []byte("mine"), 0o600))
	must(t, os.WriteFile(empty, nil, 0o444))
	must(t, CreateNS(ns))
	defer func() { must(t, DeleteNS(ns)) }()
	must(t, os.Symlink(ns, link))

	for _, path := range []string{file, dir, link} {
		if err := DeleteNS(path); !errors.Is(err, errdefs.ErrConflict) {
			t.Errorf("delete %s: %v, want ErrConflict", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if err := CreateNS(empty); !errors.Is(err, errdefs.ErrExists) {
		t.Errorf("create over what an unfinished CreateNS left: %v, want ErrExists", err)
	}
	must(t, DeleteNS(empty))
	if _, err := os.Lstat(empty); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what an unfinished CreateNS left is still there: %v", err)
	}
}

func TestOpenNSRefusesOtherFiles(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, unix.Mkfifo(fifo, 0o600))
	for _, path := range []string{"/proc/self/ns/mnt", "/etc/passwd", t.TempDir(), fifo} {
		if _, err := OpenNS(path); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("open %s: %v, want ErrInvalid", path, err)
		}
	}
}

func TestDoRunsInsideAndReturnsTheError(t *testing.T) {
	testutil.NoLeaks(t)
	ns, _ := sandbox(t)
	boom := errors.New("boom")
	err := ns.Do(func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		if len(links) != 1 || unix.Gettid() == unix.Getpid() {
			return errors.New("not inside, or on the main thread")
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want boom", err)
	}
	if err := ns.Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errExited) {
		t.Errorf("function that ends its goroutine: got %v", err)
	}
	// A thread that cannot be brought back: here, because the way back has been closed under it.
	err = ns.Do(func() error {
		entries, err := os.ReadDir("/proc/self/fd")
		host, hostErr := os.Readlink("/proc/self/ns/net")
		for _, e := range entries {
			if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && target == host {
				return replaceFD(t, e.Name())
			}
		}
		return errors.Join(err, hostErr, errors.New("the way back was not found"))
	})
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("no way back: got %v, want EINVAL", err)
	}
}

// replaceFD puts /dev/null in place of a descriptor.
func replaceFD(t *testing.T, name string) error {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	fd := 0
	for _, digit := range name {
		fd = fd*10 + int(digit-'0')
	}
	return unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC)
}

func TestNothingLeaksOverManyCycles(t *testing.T) {
	testutil.NoLeaks(t)
	dir := t.TempDir()
	var group errgroup.Group
	group.SetLimit(4)
	for n := range 2000 {
		group.Go(func() error {
			path := filepath.Join(dir, HashName("ns", 8, string(rune(n%8)), string(rune(n))))
			if n%20 != 0 { // making one takes a millisecond of kernel time, entering one a hundredth of that
				return enterAndLook("/proc/self/ns/net")
			}
			return errors.Join(CreateNS(path), enterAndLook(path), DeleteNS(path))
		})
	}
	must(t, group.Wait())
}

func enterAndLook(path string) error {
	ns, err := OpenNS(path)
	if err != nil {
		return err
	}
	h, err := Open(ns)
	if err != nil {
		return errors.Join(err, ns.Close())
	}
	_, err = h.Link(noTest, "lo")
	return errors.Join(err, ns.Close(), h.Close())
}

// A namespace that was unmounted while somebody has it open gets its place back, with everything in it.
func TestRemount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ns")
	must(t, CreateNS(path))
	mounted, err := OpenNS(path)
	must(t, err)
	ns, err := mounted.Hold()
	must(t, errors.Join(err, mounted.Close(), unix.Unmount(path, 0))) // not busy
	must(t, unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.FD()), path, "", unix.MS_BIND, ""))
	if err := ns.Remount(path); !errors.Is(err, errdefs.ErrExists) {
		t.Errorf("over a file that is there: %v", err)
	}
	must(t, DeleteNS(path))
	must(t, ns.Remount(path))
	again, err := OpenNS(path)
	must(t, err)
	if again.Identity() != ns.Identity() {
		t.Error("another namespace was mounted")
	}
	must(t, errors.Join(again.Close(), ns.Close(), DeleteNS(path)))
}
