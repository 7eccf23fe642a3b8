// Package run is the only door to other programs: no shell, a fixed locale, a deadline that kills, and an error that
// carries the command and what it printed.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// waitDelay bounds how long a killed program's children may hold its output pipes open.
const waitDelay = 2 * time.Second

// Error is a program that was started and failed.
type Error struct {
	Args   []string
	Stderr string // trimmed, at most 4 KiB
	Err    error  // an *exec.ExitError, or the context's error when that ended it
}

func (e *Error) Error() string {
	text := fmt.Sprintf("run %q: %v", strings.Join(e.Args, " "), e.Err)
	if e.Stderr != "" {
		text += ": " + e.Stderr
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Output runs name with args, feeds it stdin (nil: nothing) and returns what it wrote to standard output. Standard
// error is kept apart and becomes part of the error. A program that is not installed is ErrUnavailable. When ctx ends
// the program's whole process group is killed and waited for, and the error wraps ctx.Err(). Safe for concurrent use.
func Output(ctx context.Context, stdin io.Reader, name string, args ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Args: append([]string{name}, args...), Err: err}
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	cmd.Stdin = stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("run %s: %w: %w", name, err, errdefs.ErrUnavailable)
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	return stdout.Bytes(), &Error{Args: cmd.Args, Stderr: clip(stderr.String()), Err: err}
}

func clip(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > 4096 {
		s = s[:4096]
	}
	return s
}
