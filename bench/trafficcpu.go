package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix" //nolint:depguard // the library has no use for CPUs

	"github.com/libcnm/libcnm/internal/testutil"
)

// Where the scheduler puts a switch that runs in user space decides how much of a burst it takes at once: left to it, the same
// flows carried 83, 96, 155 and 94 thousand datagrams a second, one time after the other. So whoever measures has the first of
// the CPUs that this process may use, and the daemons of Open vSwitch, which libcnm's network and the one by hand share, have
// the last. With one there is nothing to choose.

// ends are the first and the last CPU of the calling thread, and all of them.
func ends() (first, last, all unix.CPUSet, err error) {
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return first, last, all, fmt.Errorf("ask for CPUs: %w", err)
	}
	for n, left := 0, all.Count(); left > 0; n++ {
		if !all.IsSet(n) {
			continue
		}
		if first.Count() == 0 {
			first.Set(n)
		}
		if left--; left == 0 {
			last.Set(n)
		}
	}
	return first, last, all, nil
}

// onFirstCPU runs fn on a thread of its own on the first CPU.
func onFirstCPU(fn func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	first, _, all, err := ends()
	if err != nil {
		return err
	}
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		return fmt.Errorf("choose CPU: %w", err)
	}
	fn()
	return unix.SchedSetaffinity(0, &all)
}

// placeSwitch puts every thread of the host's ovs-vswitchd on the last CPU.
func placeSwitch(t testutil.TB, h *testutil.Host) {
	t.Helper()
	_, last, _, err := ends()
	if err != nil {
		t.Fatalf("%v", err)
	}
	_, pid := h.OVS.Pids()
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatalf("threads of ovs-vswitchd on %s: %v", h.Name, err)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err == nil {
			err = unix.SchedSetaffinity(tid, &last)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
			t.Fatalf("place thread %s of ovs-vswitchd on %s: %v", thread.Name(), h.Name, err)
		}
	}
}
