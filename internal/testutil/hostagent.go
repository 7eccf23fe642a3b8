package testutil

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

const agentStopTimeout = 30 * time.Second

// agentProcess is a host's controller process with the pipe it answers through.
type agentProcess struct {
	*process
	client *agent.Client
	out    *os.File
}

// discard frees what a process that has ended leaves behind.
func (a *agentProcess) discard() error {
	err := a.client.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil // Stop did
	}
	a.client.Wait()
	return errors.Join(err, a.out.Close())
}

// Start starts the host's agent: this program again, on the host, serving the methods given to Agent.
func (h *Host) Start(t TB) {
	t.Helper()
	if a := h.agent.Load(); a != nil && a.running() {
		t.Fatalf("start agent on %s: it is running", h.Name)
	}
	if err := errors.Join(h.killAgent(), h.startAgent()); err != nil {
		t.Fatalf("start agent on %s: %v", h.Name, err)
	}
}

func (h *Host) startAgent() error {
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer inR.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, inW.Close())
	}
	defer outW.Close()
	cmd := h.Command(fmt.Sprintf("/proc/%d/exe", os.Getpid()))
	cmd.Env = append(os.Environ(), agentEnv+"=1")
	cmd.Stdin, cmd.Stdout = inR, outW
	p, err := start("agent of "+h.Name, h.agentLog(), cmd)
	if err != nil {
		return errors.Join(err, inW.Close(), outR.Close())
	}
	h.agent.Store(&agentProcess{process: p, client: agent.NewClient(inW, outR), out: outR})
	return nil
}

// Call runs a method of the host's agent; see agent.Client.
func (h *Host) Call(ctx context.Context, method string, params, result any) error {
	a := h.agent.Load()
	if a == nil {
		return fmt.Errorf("call %s on %s: the agent does not run: %w", method, h.Name, errdefs.ErrUnavailable)
	}
	if err := a.client.Call(ctx, method, params, result); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// Kill9 kills the agent at once and waits for its death. Processes that it started go on, as on any machine.
func (h *Host) Kill9(t TB) {
	t.Helper()
	if err := h.killAgent(); err != nil {
		t.Fatalf("kill agent on %s: %v", h.Name, err)
	}
}

// Restart kills the agent at once and starts it again.
func (h *Host) Restart(t TB) {
	t.Helper()
	h.Kill9(t)
	h.Start(t)
}

// Stop ends the agent's input, which makes it cancel what it does and exit, and waits for that.
func (h *Host) Stop(t TB) {
	t.Helper()
	a := h.agent.Swap(nil)
	if a == nil {
		t.Fatalf("stop agent on %s: it does not run", h.Name)
		return
	}
	if err := errors.Join(a.client.Close(), a.wait(agentStopTimeout), a.discard()); err != nil {
		t.Fatalf("stop agent on %s: %v", h.Name, err)
	}
}

// Pause stops the agent from running without ending it; Resume lets it go on.
func (h *Host) Pause(t TB) {
	t.Helper()
	h.signalAgent(t, syscall.SIGSTOP)
}

// Resume ends Pause.
func (h *Host) Resume(t TB) {
	t.Helper()
	h.signalAgent(t, syscall.SIGCONT)
}

func (h *Host) signalAgent(t TB, sig syscall.Signal) {
	t.Helper()
	a := h.agent.Load()
	if a == nil {
		t.Fatalf("signal agent on %s: it does not run", h.Name)
		return
	}
	if err := a.signal(sig); err != nil {
		t.Fatalf("%v", err)
	}
}

func (h *Host) killAgent() error {
	a := h.agent.Swap(nil)
	if a == nil {
		return nil
	}
	return errors.Join(a.kill(), a.discard())
}

func (h *Host) closeAgent(t TB) {
	if err := h.killAgent(); err != nil {
		t.Errorf("kill agent on %s: %v", h.Name, err)
	}
	if !t.Failed() {
		return
	}
	if _, err := os.Stat(h.agentLog()); err == nil {
		t.Logf("log of the agent on %s:\n%s", h.Name, tail(h.agentLog()))
	}
}

func (h *Host) agentLog() string { return filepath.Join(h.Dir, "agent.log") }
