package testutil

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil/agent"
)

// A test binary runs three times: the process `go test` started, PID 1 of the new namespaces, and the tests themselves.
const (
	stageEnv    = "CNM_TEST_STAGE"
	stageInit   = "init"
	stageInside = "inside"

	agentEnv   = "CNM_AGENT"    // set: this process is a host's agent, not a test
	etcdBinEnv = "CNM_ETCD_BIN" // the etcd server built outside, where the module cache and the network are
)

// The main goroutine stays on the main thread, so no goroutine that changes namespaces can ever be scheduled there:
// a thread in a foreign namespace is discarded, but the main thread cannot be, and /proc/self/ns is the main thread's.
func init() { runtime.LockOSThread() }

// Option adjusts Main and Enter.
type Option func(*config)

type config struct {
	etcd   bool
	agents map[string]agent.Handler
	watch  []func() (after func() error, err error)
}

// NeedEtcd builds the etcd server before the namespaces are entered, for tests that call StartEtcd.
func NeedEtcd() Option { return func(c *config) { c.etcd = true } }

// Agent gives the methods that this binary serves when a Host starts it as its controller process.
func Agent(handlers map[string]agent.Handler) Option { return func(c *config) { c.agents = handlers } }

// Watch lets f look at the machine before the namespaces are entered, and what it returns look again when everything in
// them has ended. An error of either makes the process fail.
func Watch(f func() (after func() error, err error)) Option {
	return func(c *config) { c.watch = append(c.watch, f) }
}

// Main is the whole body of a TestMain: it runs the tests inside their own namespaces and exits with their status.
func Main(m *testing.M, opts ...Option) {
	Enter(opts...)
	os.Exit(m.Run())
}

// Enter returns only inside fresh user, network, mount, PID and UTS namespaces, in which the caller is root, lo is up and
// /run and the directory for temporary files are private. The process that called first waits for the one inside, passes
// signals on and exits with its status. When either dies, whatever runs in the namespaces dies too.
func Enter(opts ...Option) {
	var c config
	for _, opt := range opts {
		opt(&c)
	}
	if os.Getenv(agentEnv) != "" {
		os.Exit(serveAgent(c.agents))
	}
	switch os.Getenv(stageEnv) {
	case stageInside:
		return
	case stageInit:
		exit(runInit())
	}
	code, err := runOutside(c)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testutil: %v\n", err)
		exit(1)
	}
	exit(code)
}

// exit ends a process that has run no tests. In one built with -race, os.Exit would sleep for a second first.
func exit(code int) { syscall.Exit(code) }
