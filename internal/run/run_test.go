package run_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestOutput(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	for _, c := range []struct {
		name  string
		stdin io.Reader
		args  []string
		want  string
	}{
		{"standard output", nil, []string{"echo", "hello"}, "hello\n"},
		{"standard error is apart", nil, []string{"sh", "-c", "echo noise >&2; echo data"}, "data\n"},
		{"standard input", strings.NewReader("line\n"), []string{"cat"}, "line\n"},
		{"no standard input", nil, []string{"cat"}, ""},
		{"no shell", nil, []string{"echo", "$(id); `id` && *"}, "$(id); `id` && *\n"},
		{"fixed locale", nil, []string{"sh", "-c", "echo $LC_ALL"}, "C\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := run.Output(t.Context(), c.stdin, c.args[0], c.args[1:]...)
			if err != nil || string(out) != c.want {
				t.Errorf("%q, %v, want %q", out, err, c.want)
			}
		})
	}
}

func TestOutputFails(t *testing.T) {
	out, err := run.Output(t.Context(), nil, "sh", "-c", "echo partial; echo ' no such bridge ' >&2; exit 3")
	var failed *run.Error
	if !errors.As(err, &failed) {
		t.Fatalf("%v, want *run.Error", err)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%v, want exit status 3", err)
	}
	if string(out) != "partial\n" || failed.Stderr != "no such bridge" {
		t.Errorf("output %q, standard error %q", out, failed.Stderr)
	}
	want := `run "sh -c echo partial; echo ' no such bridge ' >&2; exit 3": exit status 3: no such bridge`
	if err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
}

func TestOutputClipsStandardError(t *testing.T) {
	_, err := run.Output(t.Context(), nil, "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
	if err == nil || len(err.Error()) > 5000 {
		t.Errorf("text of %d bytes", len(fmt.Sprint(err)))
	}
}

func TestOutputNotInstalled(t *testing.T) {
	_, err := run.Output(t.Context(), nil, "cnm-no-such-program")
	if !errors.Is(err, errdefs.ErrUnavailable) || !strings.Contains(err.Error(), "cnm-no-such-program") {
		t.Errorf("%v, want ErrUnavailable naming the program", err)
	}
}

func TestOutputCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(t.TempDir(), "started")
	if _, err := run.Output(ctx, nil, "touch", file); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program ran")
	}
}

// A helper that the program started must not survive it, nor keep Output waiting by its open pipes.
func TestOutputKillsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	file := filepath.Join(t.TempDir(), "pid")
	done := make(chan error, 1)
	go func() {
		_, err := run.Output(ctx, nil, "sh", "-c", `sleep 1000 & echo $! >"$1.new"; mv "$1.new" "$1"; wait`, "sh", file)
		done <- err
	}()
	var pid string
	testutil.Eventually(t, 10*time.Second, func() error {
		raw, err := os.ReadFile(file)
		pid = strings.TrimSpace(string(raw))
		return err
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	testutil.Eventually(t, 10*time.Second, func() error {
		switch stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat")); {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH):
			return nil
		case err != nil:
			return err
		case strings.Contains(string(stat), ") Z "): // dead, waiting for its reaper
			return nil
		default:
			return fmt.Errorf("process %s still runs: %s", pid, stat)
		}
	})
}

func TestOutputDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := run.Output(ctx, nil, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want context.DeadlineExceeded", err)
	}
}

func TestOutputConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			want := fmt.Sprint(i)
			if out, err := run.Output(t.Context(), strings.NewReader(want), "cat"); err != nil || string(out) != want {
				t.Errorf("%q, %v, want %q", out, err, want)
			}
		})
	}
	wg.Wait()
}
