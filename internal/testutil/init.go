package testutil

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	statusFD    = 3 // write: statusReady, or why the namespaces could not be set up
	lifeFD      = 4 // read: ends when the process outside does
	statusReady = "ready\n"
)

// runInit is PID 1 of the new namespaces: it sets them up, starts the tests and reaps whatever they leave behind. The
// kernel kills every other process of the namespace when it ends.
func runInit() int {
	status, life := os.NewFile(statusFD, "status"), os.NewFile(lifeFD, "life")
	unix.CloseOnExec(statusFD)
	unix.CloseOnExec(lifeFD)
	signals, children := make(chan os.Signal, 64), make(chan os.Signal, 1)
	signal.Notify(signals)
	signal.Notify(children, unix.SIGCHLD)

	pid, err := setupAndStart()
	report := statusReady
	if err != nil {
		report = err.Error()
	}
	_, writeErr := io.WriteString(status, report)
	if status.Close() != nil || writeErr != nil || err != nil {
		return 1
	}
	go func() {
		// Pdeathsig does the same, except when the process outside died before it was set.
		_, _ = io.Copy(io.Discard, life) //nolint:errcheck // only its end matters
		exit(1)
	}()
	for {
		select {
		case <-children:
			if code, ended := reap(pid); ended {
				return code
			}
		case sig := <-signals:
			// SIGURG is the Go runtime's own.
			if s, ok := sig.(syscall.Signal); ok && s != unix.SIGCHLD && s != unix.SIGURG {
				_ = unix.Kill(pid, s) //nolint:errcheck // the tests may just have ended, which children tells
			}
		}
	}
}

// reap waits for every child that has ended, its own and adopted ones, and says whether the tests are among them.
func reap(tests int) (code int, ended bool) {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || pid <= 0:
			return code, ended
		case pid == tests && ws.Signaled():
			code, ended = 128+int(ws.Signal()), true
		case pid == tests:
			code, ended = ws.ExitStatus(), true
		}
	}
}

func setupAndStart() (int, error) {
	if err := setupMounts(); err != nil {
		return 0, err
	}
	if err := loUp(); err != nil {
		return 0, err
	}
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, stageEnv+"=") {
			env = append(env, e)
		}
	}
	// Not os/exec: its Wait and reap would race for the same child.
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env:   append(env, stageEnv+"="+stageInside),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return 0, fmt.Errorf("start the tests: %w", err)
	}
	return pid, nil
}
