package testutil

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

var nsSerial atomic.Int64

// NS is a network namespace. It is safe for concurrent use until the test's cleanup closes it.
type NS struct {
	Name   string // as for ip netns; empty when it has none
	file   *os.File
	handle *netlink.Handle
}

// NewNS makes a network namespace with lo up, named for use with ip netns, and removes it when the test ends.
func NewNS(t TB) *NS {
	t.Helper()
	name := fmt.Sprintf("cnm%d", nsSerial.Add(1))
	path := filepath.Join(netnsDir, name)
	if err := createNS(path); err != nil {
		t.Fatalf("make namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(path, unix.MNT_DETACH), os.Remove(path)); err != nil {
			t.Errorf("remove namespace %s: %v", name, err)
		}
	})
	file, err := os.Open(path)
	if err != nil {
		t.Fatalf("open namespace %s: %v", name, err)
	}
	ns := openNS(t, file)
	ns.Name = name
	return ns
}

// OpenNS opens the network namespace at path, such as a sandbox's, for as long as the test runs.
func OpenNS(t TB, path string) *NS {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatalf("open namespace: %v", err)
	}
	return openNS(t, file)
}

// HomeNS is the namespace the tests themselves run in.
func HomeNS(t TB) *NS {
	t.Helper()
	return OpenNS(t, "/proc/self/ns/net")
}

// openNS takes over file.
func openNS(t TB, file *os.File) *NS {
	t.Helper()
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Errorf("close namespace: %v", err)
		}
	})
	handle, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatalf("open namespace %s: %v", file.Name(), err)
	}
	t.Cleanup(handle.Close)
	return &NS{file: file, handle: handle}
}

// createNS mounts a new network namespace at path.
func createNS(path string) error {
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		return err
	}
	return throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return loUp()
	})
}

func loUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// throwaway runs f on a thread that ends with it, whatever f has done to the thread's namespaces.
func throwaway(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		done <- f()
	}()
	return <-done
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay there; goroutines that it starts do not.
func (ns *NS) Do(f func() error) error {
	return throwaway(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns.Name, err)
		}
		return f()
	})
}

// Path names the namespace for every process that sees this one's /proc.
func (ns *NS) Path() string { return procFD(ns.file) }

// Command prepares a program that runs inside the namespace.
func (ns *NS) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=" + ns.Path(), "--", name}, args...)...)
}

// Netlink is a netlink handle inside the namespace; the caller does not close it.
func (ns *NS) Netlink() *netlink.Handle { return ns.handle }

// Sysctl writes a /proc/sys value inside the namespace; key is as in net/ipv4/ip_forward.
func (ns *NS) Sysctl(t TB, key, value string) {
	t.Helper()
	err := ns.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0) })
	if err != nil {
		t.Fatalf("sysctl %s=%s: %v", key, value, err)
	}
}

func procFD(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }
