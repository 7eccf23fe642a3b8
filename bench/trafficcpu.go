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

// Where the scheduler puts a switch that runs in user space decides how much of a burst it takes at once: the same flows
// carried 83, 96, 155 and 94 thousand datagrams a second, one time after the other, and 156 to 162 with the switch on a CPU of
// its own. So whoever measures has the first CPU, and the daemons of Open vSwitch, which libcnm's network and the one by hand share, have
// the last. With one CPU there is nothing to choose.
var (
	measuringCPU = cpu(0)
	switchCPU    = cpu(runtime.NumCPU() - 1)
)

func cpu(n int) *unix.CPUSet {
	var set unix.CPUSet
	set.Set(n)
	return &set
}

// onMeasuringCPU runs fn on a thread of its own on the first CPU.
func onMeasuringCPU(fn func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("ask for CPUs: %w", err)
	}
	if err := unix.SchedSetaffinity(0, measuringCPU); err != nil {
		return fmt.Errorf("choose CPU: %w", err)
	}
	fn()
	return unix.SchedSetaffinity(0, &before)
}

// placeSwitch puts every thread of the host's ovs-vswitchd on the last CPU.
func placeSwitch(t testutil.TB, h *testutil.Host) {
	t.Helper()
	_, pid := h.OVS.Pids()
	threads, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatalf("threads of ovs-vswitchd on %s: %v", h.Name, err)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err == nil {
			err = unix.SchedSetaffinity(tid, switchCPU)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
			t.Fatalf("place thread %s of ovs-vswitchd on %s: %v", thread.Name(), h.Name, err)
		}
	}
}
