package testutil

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// etcdMember is one process of a cluster and what is needed to start it again. Its methods are for one goroutine.
type etcdMember struct {
	name, dir    string
	client, peer string // URLs
	args         []string

	cmd    *exec.Cmd
	stderr bytes.Buffer  // complete when exited is closed
	ready  chan struct{} // closed when the process serves
	exited chan struct{} // closed when it has been waited for; nil: never started
}

func (m *etcdMember) running() bool {
	if m.exited == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// Start starts the given members, or all that do not run, and waits until they serve. Members that need each other for a
// quorum must be started in one call.
func (c *EtcdCluster) Start(members ...int) {
	c.t.Helper()
	if len(members) == 0 {
		for i, m := range c.members {
			if !m.running() {
				members = append(members, i)
			}
		}
	}
	for _, i := range members {
		if err := c.launch(i); err != nil {
			c.t.Fatalf("start etcd member %d: %v", i, err)
		}
	}
	deadline := time.NewTimer(etcdStartTimeout)
	defer deadline.Stop()
	for _, i := range members {
		m := c.members[i]
		select {
		case <-m.ready:
		case <-m.exited:
			c.t.Fatalf("etcd member %d: %v: %s\n%s", i, m.cmd.ProcessState, m.stderr.Bytes(), m.log())
		case <-deadline.C:
			c.t.Fatalf("etcd member %d does not serve after %v\n%s", i, etcdStartTimeout, m.log())
		}
	}
}

func (c *EtcdCluster) launch(i int) error {
	m := c.member(i)
	if m.running() {
		return errors.New("it is running")
	}
	m.stderr.Reset()
	m.cmd = exec.Command(c.bin, m.args...)
	m.cmd.Stderr = &m.stderr
	// The member ends with its standard input: the write end closes when this process dies.
	stdin, err := m.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		return errors.Join(err, stdin.Close())
	}
	if c.opts.Wrap != nil {
		c.opts.Wrap(i, m.cmd)
	}
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.ready, m.exited = make(chan struct{}), make(chan struct{})
	go func(cmd *exec.Cmd, ready, exited chan struct{}) {
		defer close(exited)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == "ready" {
				close(ready)
			}
		}
		// A killed member's status is an error, and expected; Start reports it for one that died before it was ready.
		if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
			c.t.Errorf("wait for etcd member %d: %v", i, err)
		}
	}(m.cmd, m.ready, m.exited)
	return nil
}

// Stop ends a member in an orderly way and waits for it; a paused one must be resumed first.
func (c *EtcdCluster) Stop(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGTERM)
	<-c.member(i).exited
}

// Kill ends a member at once and waits for it. It is no error if it does not run.
func (c *EtcdCluster) Kill(i int) {
	c.t.Helper()
	if m := c.member(i); m.running() {
		c.signal(i, syscall.SIGKILL)
		<-m.exited
	}
}

// Pause stops a member's process without closing its connections, as a machine that hangs does, and waits until all of its
// threads stand still.
func (c *EtcdCluster) Pause(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGSTOP)
	for {
		err := unix.Waitid(unix.P_PID, c.member(i).cmd.Process.Pid, nil, unix.WSTOPPED, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			c.t.Fatalf("wait until etcd member %d stands still: %v", i, err)
		}
	}
}

// Resume lets a paused member go on.
func (c *EtcdCluster) Resume(i int) { c.t.Helper(); c.signal(i, syscall.SIGCONT) }

func (c *EtcdCluster) signal(i int, sig syscall.Signal) {
	c.t.Helper()
	m := c.member(i)
	if !m.running() {
		c.t.Fatalf("etcd member %d does not run: cannot send it %v", i, sig)
	}
	if err := m.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatalf("send %v to etcd member %d: %v", sig, i, err)
	}
}

// log returns the end of the member's log.
func (m *etcdMember) log() []byte {
	data, err := os.ReadFile(filepath.Join(m.dir, "etcd.log"))
	if err != nil {
		return []byte(err.Error())
	}
	return data[max(0, len(data)-4096):]
}
