package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec" //nolint:depguard // internal/run starts no program stopped, as tracing needs
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// How many endpoints live and die in the two runs whose difference is what one of them costs: so many that what a contender
	// does in the first tenth of a second is in both. libcnm then looks at its host, because its bridge has got an address.
	fewLives, manyLives = 30, 50

	// forkRuns is how often both are repeated while the difference is not the same number for each endpoint. A look at a host that
	// changes meanwhile may start two programs more.
	forkRuns = 5
)

// countForks returns how many processes one endpoint's life starts, from its Up to the end of its Down, by whomever.
func countForks(t testutil.TB, cfg config, kind string) int {
	t.Helper()
	fewest := [2]int{math.MaxInt, math.MaxInt}
	for range forkRuns {
		for i, lives := range []int{fewLives, manyLives} {
			fewest[i] = min(fewest[i], forksOf(t, cfg, kind, lives))
		}
		if forks, ok := forksOfOne(fewest[0], fewest[1]); ok {
			return forks
		}
	}
	t.Fatalf("count forks of %s: %d endpoints started %d processes and %d started %d, which is no number for each",
		kind, fewLives, fewest[0], manyLives, fewest[1])
	return 0
}

// forksOfOne is how many processes an endpoint starts where fewLives start few and manyLives start many.
func forksOfOne(few, many int) (forks int, ok bool) {
	more := many - few
	return more / (manyLives - fewLives), more >= 0 && more%(manyLives-fewLives) == 0
}

// forksOf counts the processes of a run of its own.
func forksOf(t testutil.TB, cfg config, kind string, lives int) int {
	t.Helper()
	h := testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true}).Hosts[0]
	h.NS.WaitAddresses(t) // the host's own are no less a reason to look
	s := setup{Kind: kind, DataDir: t.TempDir(), CNIDir: cfg.cni, Node: h.Name, Underlay: h.VTEP}
	args := append(s.args(), "-lives", strconv.Itoa(lives), "-trace")
	out := h.Run(t, fmt.Sprintf("/proc/%d/exe", os.Getpid()), args...)
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatalf("count forks of %s: %v", kind, err)
	}
	return n
}

// live brings endpoints up and takes them down, one after the other.
func live(ctx context.Context, s setup, lives int) error {
	c, err := open(ctx, s)
	if err != nil {
		return err
	}
	b := block{Count: 1, Parallel: 1}
	for b.First = range lives {
		_, err = b.run(ctx, c.Up)
		if err == nil {
			_, err = b.run(ctx, c.Down)
		}
		if err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return c.Close()
}

// trace runs this program again with args and returns how many processes were started below it. Threads do not count.
func trace(args []string) (int, error) {
	runtime.LockOSThread() // only the thread that traces may
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	first := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(first, &status, syscall.WALL, nil); err != nil {
		return 0, fmt.Errorf("wait for %d to start: %w", first, err)
	}
	const exitKill = 1 << 20 // PTRACE_O_EXITKILL
	follow := syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACECLONE | exitKill
	if err := syscall.PtraceSetOptions(first, follow); err != nil {
		return 0, fmt.Errorf("trace %d: %w", first, err)
	}
	if err := syscall.PtraceCont(first, 0); err != nil {
		return 0, fmt.Errorf("let %d run: %w", first, err)
	}
	return watch(first)
}

// watch lets the traced processes run until all have ended.
func watch(first int) (forks int, err error) {
	known := map[int]bool{first: true}
	var failed error
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD):
			return forks, failed
		case err != nil:
			return 0, fmt.Errorf("wait for traced processes: %w", err)
		}
		if !status.Stopped() {
			if pid == first && (!status.Exited() || status.ExitStatus() != 0) {
				failed = fmt.Errorf("the traced program ended with status %#x", int(status))
			}
			continue
		}
		deliver := int(status.StopSignal())
		switch {
		case status.StopSignal() == syscall.SIGTRAP:
			deliver = 0
			if cause := status.TrapCause(); cause == syscall.PTRACE_EVENT_FORK || cause == syscall.PTRACE_EVENT_VFORK {
				forks++
			}
		case status.StopSignal() == syscall.SIGSTOP && !known[pid]:
			deliver = 0 // with which each new one begins
		}
		known[pid] = true
		if err := syscall.PtraceCont(pid, deliver); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, fmt.Errorf("let %d run on: %w", pid, err)
		}
	}
}
