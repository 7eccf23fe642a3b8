package child

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	programEnv = "CNM_TEST_PROGRAM" // set: this process is the program, not its tests

	// patience is for a machine that does much else; what is waited for takes well under a second.
	patience = 30 * time.Second
)

// Main is the body of a program's TestMain: program, which is its main, in a process that Start has started, and
// testutil.Main otherwise.
func Main(m *testing.M, program func(), opts ...testutil.Option) {
	if os.Getenv(programEnv) != "" {
		// What the program starts is no program under test.
		if err := os.Unsetenv(programEnv); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		program()
		os.Exit(0)
	}
	testutil.Main(m, opts...)
}

// Process is the program, running. Its methods are for the test's own goroutine.
type Process struct {
	t   testutil.TB
	cmd *exec.Cmd

	mu     sync.Mutex // guards all following fields
	lines  []string
	read   int           // lines that Line has been through
	change chan struct{} // closed when there is another line, or the end
	ended  bool
	status error // why it ended
}

// Start starts the program. If it still runs at the test's end it is killed.
func Start(t testutil.TB, at testutil.Place, args ...string) *Process {
	t.Helper()
	cmd := at.Command(fmt.Sprintf("/proc/%d/exe", os.Getpid()), args...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("start program: %v", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	if err := errors.Join(err, w.Close()); err != nil {
		r.Close()
		t.Fatalf("start program: %v", err)
	}
	p := &Process{t: t, cmd: cmd, change: make(chan struct{})}
	var tasks sync.WaitGroup
	tasks.Go(func() { p.follow(r) })
	tasks.Go(func() { p.end(cmd.Wait()) })
	t.Cleanup(func() {
		p.Kill()
		// What it started may have its output open and go on; nobody reads that any more.
		if err := r.Close(); err != nil {
			t.Errorf("close output of program: %v", err)
		}
		tasks.Wait()
		if t.Failed() {
			t.Logf("%s printed:\n%s", strings.Join(cmd.Args, " "), p.Output())
		}
	})
	return p
}

// follow keeps what the program prints.
func (p *Process) follow(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		p.lockedChanged()
		p.mu.Unlock()
	}
}

func (p *Process) end(status error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended, p.status = true, status
	p.lockedChanged()
}

func (p *Process) lockedChanged() {
	close(p.change)
	p.change = make(chan struct{})
}

// Pid returns the program's process ID.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns what the program has printed.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// Line waits for a line that contains all parts, after the one that the call before it returned.
func (p *Process) Line(parts ...string) string {
	p.t.Helper()
	missing := func(line string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		line, change, found := p.next(missing)
		if found {
			return line
		}
		select {
		case <-change:
		case <-timeout.C:
			p.t.Fatalf("no line with %q in:\n%s", parts, p.Output())
		}
	}
}

func (p *Process) next(missing func(string) bool) (line string, change <-chan struct{}, found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.read < len(p.lines) {
		line = p.lines[p.read]
		p.read++
		if !missing(line) {
			return line, nil, true
		}
	}
	return "", p.change, false
}

// Interrupt asks the program to end, as a terminal does.
func (p *Process) Interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatalf("interrupt program: %v", err)
	}
}

// Exit waits until the program ends by itself, which it must with the status code.
func (p *Process) Exit(code int) {
	p.t.Helper()
	if err := p.wait(); err != nil {
		p.t.Fatalf("%v, printed:\n%s", err, p.Output())
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("program ended with %s, want status %d; it printed:\n%s", p.cmd.ProcessState, code, p.Output())
	}
}

// Kill ends the program at once and waits for that. It is no error if it has ended.
func (p *Process) Kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("kill program: %v", err)
	}
	if err := p.wait(); err != nil {
		p.t.Errorf("%v", err)
	}
}

func (p *Process) wait() error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		p.mu.Lock()
		ended, status, change := p.ended, p.status, p.change
		p.mu.Unlock()
		if ended {
			var exit *exec.ExitError
			if status != nil && !errors.As(status, &exit) {
				return fmt.Errorf("wait for program: %w", status)
			}
			return nil
		}
		select {
		case <-change:
		case <-timeout.C:
			return fmt.Errorf("program has not ended within %s", patience)
		}
	}
}
