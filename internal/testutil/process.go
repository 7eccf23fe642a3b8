package testutil

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Place is where a program can be started: a namespace or a host.
type Place interface {
	Command(name string, args ...string) *exec.Cmd
}

// here is the Place of the process itself.
type here struct{}

func (here) Command(name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }

// process is a program that runs until somebody ends it. Its methods are safe for concurrent use.
type process struct {
	name   string
	log    string // file with its standard error
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has been waited for
	status error         // why it ended; to be read after exited
}

// start starts cmd, with standard error appended to the file log, and standard output too unless cmd has its own.
func start(name, log string, cmd *exec.Cmd) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	if cmd.Stdout == nil {
		cmd.Stdout = file
	}
	// In a group of its own, so that a terminal's interrupt ends the test and the test ends its processes, in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log, cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		p.status = cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ended returns why the process is not running, or nil if it is.
func (p *process) ended() error {
	if p.running() {
		return nil
	}
	if p.status != nil {
		return fmt.Errorf("%s ended: %w\n%s", p.name, p.status, tail(p.log))
	}
	return fmt.Errorf("%s ended\n%s", p.name, tail(p.log))
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// kill ends the process at once and waits for it. It is no error if it has ended already.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	return nil
}

// wait waits until the process ends by itself, and kills it after timeout.
func (p *process) wait(timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.exited:
		if p.status != nil {
			return p.ended()
		}
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("%s did not end within %v\n%s", p.name, timeout, tail(p.log)), p.kill())
	}
}

// tail is the end of a log file, for the text of a failure.
func tail(path string) string {
	const most = 4096
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return string(data)
}
