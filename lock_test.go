package libcnm_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/libcnm/libcnm"
)

// TestLockOfTheDeadIsWaitedFor: a controller that is killed while it starts a program leaves its lock to the new process
// until that runs the program.
func TestLockOfTheDeadIsWaitedFor(t *testing.T) {
	f := newFixture(t, "node1")
	must(t, f.open(t).Close())
	lock, err := os.OpenFile(filepath.Join(f.dir, "run", "lock"), os.O_RDWR, 0)
	must(t, err)
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	released := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() { released <- lock.Close() })
	must(t, f.open(t).Close())
	must(t, <-released)
}

// TestLockIsNotWaitedForBeyondTheContext, which may end before the patience does.
func TestLockIsNotWaitedForBeyondTheContext(t *testing.T) {
	f := newFixture(t, "node1")
	f.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := libcnm.New(ctx, f.opts...)
	wantErr(t, err, context.DeadlineExceeded, f.dir)
	wantErr(t, err, libcnm.ErrInUse)
}
