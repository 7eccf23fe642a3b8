package link

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

var errExited = errors.New("the function ended its goroutine")

// onThread runs fn on an OS thread that is fn's alone, and that is not the process's first: /proc/<pid>/ns/net shows
// that one's namespace to everybody else. fn reports whether the thread is as it was; if not, the thread ends with it.
func onThread(fn func() (restored bool, err error)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// This goroutine keeps the first thread, so the one it starts cannot get it.
			defer runtime.UnlockOSThread()
			done <- onThread(fn)
			return
		}
		result := errExited
		defer func() { done <- result }()
		restored, err := fn()
		result = err
		if restored {
			runtime.UnlockOSThread()
		}
	}()
	return <-done
}

// inNS runs fn on a thread that has been moved by enter and is moved back afterwards.
func inNS(enter, fn func() error) error {
	return onThread(func() (bool, error) {
		origin, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return true, err
		}
		defer origin.Close()
		if err := enter(); err != nil {
			return true, err
		}
		err = fn()
		if back := unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET); back != nil {
			return false, errors.Join(err, opError("return to", "the process's network namespace", back))
		}
		return true, err
	})
}
