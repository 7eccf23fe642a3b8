package drivertest

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a testing.TB that remembers instead of failing, so that the suite can be tested on drivers that must
// not pass. The embedded interface is nil: a method the suite has no need of panics.
type recorder struct {
	testing.TB
	ctx context.Context

	mu       sync.Mutex // guards all fields below
	failed   bool
	skipped  bool
	log      []string
	cleanups []func()
}

// record holds a law against a host as testing would.
func record(ctx context.Context, l law, f Factory) *recorder {
	r := &recorder{ctx: ctx}
	s := &suite{factory: f, settle: 100 * time.Millisecond}
	inGoroutine(func() { s.hold(r, l) }) // Fatalf ends the goroutine
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		fn := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		inGoroutine(fn)
	}
	return r
}

func inGoroutine(fn func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Cleanup(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, fn)
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skip(...any) {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) String() string { return strings.Join(r.log, "\n") }
