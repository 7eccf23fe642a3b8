package walk

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

func TestMain(m *testing.M) {
	handlers := nodeagent.Handlers()
	handlers["audit"] = agent.Handle(audit.Answer)
	r := new(reaper)
	handlers["arm"] = agent.Handle(r.arm)
	handlers["moments"] = agent.Handle(r.moments)
	testutil.Main(m, testutil.NeedEtcd(), testutil.Agent(handlers))
}

// reaper ends its process at a moment: before or after one of its steps.
type reaper struct {
	mu   sync.Mutex // guards what follows; held for ever by who dies, so that nobody else begins another step
	left int        // moments to live; 0: for ever
	seen int
}

// arm lets the process live for so many moments more.
func (r *reaper) arm(_ context.Context, left int) (struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.seen = left, 0
	step.Observe(r.observe)
	return struct{}{}, nil
}

// moments returns how many have passed. A process that answers is alive.
func (r *reaper) moments(context.Context, struct{}) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen, nil
}

func (r *reaper) observe(name string, at step.Moment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen++
	if r.seen != r.left {
		return
	}
	fmt.Fprintf(os.Stderr, "death %s %s\n", at, name)
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		fmt.Fprintf(os.Stderr, "kill myself: %v\n", err)
	}
	select {}
}
