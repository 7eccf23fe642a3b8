package testutil

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// threadSlack is how many threads may be there at the end that were not at the start: the Go runtime keeps idle ones, as
// many as blocked at once. One leaked per operation exceeds it soon.
const threadSlack = 32

// NoLeaks fails the test if, at its end, it has more goroutines or open files than now, a thread left in a foreign
// namespace, or many more threads. Call it first, so that it looks after all other cleanups. Not for parallel tests.
func NoLeaks(t TB) {
	t.Helper()
	before, err := census()
	if err != nil {
		t.Fatalf("count goroutines, files and threads: %v", err)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now.
		if err := Wait(context.Background(), 5*time.Second, func() error { return leaked(before) }); err != nil {
			t.Errorf("leaked: %v", err)
		}
	})
}

func leaked(before resources) error {
	now, err := census()
	if err != nil {
		return err
	}
	var errs []error
	if now.goroutines > before.goroutines {
		buf := make([]byte, 1<<20)
		errs = append(errs, fmt.Errorf("%d goroutines, %d at the start:\n%s", now.goroutines, before.goroutines,
			buf[:runtime.Stack(buf, true)]))
	}
	if len(now.files) > len(before.files) {
		var more []string
		for _, fd := range slices.Sorted(maps.Keys(now.files)) {
			if before.files[fd] != now.files[fd] {
				more = append(more, fd+" "+now.files[fd])
			}
		}
		errs = append(errs, fmt.Errorf("%d open files, %d at the start; new: %s", len(now.files), len(before.files),
			strings.Join(more, ", ")))
	}
	if now.strayed > before.strayed {
		errs = append(errs, fmt.Errorf("%d threads are in a foreign network or mount namespace, %d at the start", now.strayed,
			before.strayed))
	}
	if now.threads > before.threads+threadSlack {
		errs = append(errs, fmt.Errorf("%d threads, %d at the start", now.threads, before.threads))
	}
	return errors.Join(errs...)
}

type resources struct {
	goroutines int
	files      map[string]string // descriptor -> what it is open on
	threads    int
	strayed    int // threads in other namespaces than the main thread
}

func census() (resources, error) {
	r := resources{goroutines: runtime.NumGoroutine(), files: make(map[string]string)}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return r, err
	}
	for _, fd := range fds {
		// One of them is the listing itself, closed by now.
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil {
			r.files[fd.Name()] = target
		}
	}
	home, err := threadNS("/proc/self")
	if err != nil {
		return r, err
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return r, err
	}
	for _, thread := range threads {
		ns, err := threadNS(filepath.Join("/proc/self/task", thread.Name()))
		if err != nil {
			continue // it has just ended
		}
		r.threads++
		if ns != home {
			r.strayed++
		}
	}
	return r, nil
}

func threadNS(dir string) (ns [2]string, err error) {
	for i, kind := range []string{"net", "mnt"} {
		if ns[i], err = os.Readlink(filepath.Join(dir, "ns", kind)); err != nil {
			return ns, err
		}
	}
	return ns, nil
}
