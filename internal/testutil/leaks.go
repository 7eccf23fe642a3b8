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

// NoLeaks fails the test if, at its end, there are goroutines, open files or threads in foreign namespaces that are not
// there now, or many more threads. Call it first, so that it looks after all other cleanups. Not for parallel tests.
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
	for _, leak := range []struct {
		kind        string
		before, now map[string]string
	}{
		{"goroutine", before.goroutines, now.goroutines},
		{"file", before.files, now.files},
		{"thread in a foreign network or mount namespace", before.strayed, now.strayed},
	} {
		for _, id := range slices.Sorted(maps.Keys(leak.now)) {
			if old, ok := leak.before[id]; !ok || old != leak.now[id] && leak.kind == "file" {
				errs = append(errs, fmt.Errorf("%s %s: %s", leak.kind, id, leak.now[id]))
			}
		}
	}
	if now.threads > before.threads+threadSlack {
		errs = append(errs, fmt.Errorf("%d threads, %d at the start", now.threads, before.threads))
	}
	return errors.Join(errs...)
}

// resources is what a process has, each by its number: identity tells a leak from something that merely ended late.
type resources struct {
	goroutines map[string]string // stack
	files      map[string]string // what is open
	strayed    map[string]string // namespaces of a thread that are not the main thread's
	threads    int
}

func census() (resources, error) {
	r := resources{goroutines: goroutines(), files: make(map[string]string), strayed: make(map[string]string)}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return r, err
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil {
			continue // the listing itself, closed by now
		}
		// The runtime opens these two with its first socket and keeps them.
		if target != "anon_inode:[eventpoll]" && target != "anon_inode:[eventfd]" {
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
			r.strayed[thread.Name()] = strings.Join(ns[:], " ")
		}
	}
	return r, nil
}

// goroutines returns the stacks of all goroutines but the caller's and the one that the standard library keeps for signals.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for n == len(buf) { // it may have been cut
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	stacks := make(map[string]string)
	_, others, _ := strings.Cut(string(buf[:n]), "\n\n") // the caller's comes first
	for stack := range strings.SplitSeq(others, "\n\n") {
		header, frames, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), "\n")
		id, _, _ := strings.Cut(header, " ")
		if !strings.Contains(frames, "os/signal.loop") {
			stacks[id] = stack
		}
	}
	return stacks
}

func threadNS(dir string) (ns [2]string, err error) {
	for i, kind := range []string{"net", "mnt"} {
		if ns[i], err = os.Readlink(filepath.Join(dir, "ns", kind)); err != nil {
			return ns, err
		}
	}
	return ns, nil
}
