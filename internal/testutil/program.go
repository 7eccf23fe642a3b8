package testutil

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
)

// errFailed is Run's result when f called Fatalf or Errorf; what it said has been printed.
var errFailed = errors.New("failed")

// Run gives a program the rig: it calls f with a TB of its own, then the cleanups, and returns an error if f failed. What
// f logs goes to log. An interrupt or SIGTERM ends the TB's context; f should return then, so that the cleanups run.
func Run(ctx context.Context, name string, log io.Writer, f func(TB)) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &program{name: name, log: log, ctx: ctx}
	p.protect(func() { f(p) })
	interrupted := ctx.Err()
	cancel()
	for {
		p.mu.Lock()
		n := len(p.cleanups)
		if n == 0 {
			p.mu.Unlock()
			break
		}
		cleanup := p.cleanups[n-1]
		p.cleanups = p.cleanups[:n-1]
		p.mu.Unlock()
		p.protect(cleanup)
	}
	if interrupted != nil {
		return interrupted
	}
	if p.Failed() {
		return fmt.Errorf("%s: %w", name, errFailed)
	}
	return nil
}

// program is the TB of Run. It is safe for concurrent use.
type program struct {
	name string
	ctx  context.Context

	logMu sync.Mutex // one message at a time on log
	log   io.Writer

	mu       sync.Mutex // guards all following fields
	failed   bool
	cleanups []func()
}

// protect runs f on a goroutine of its own, which Fatalf can end, and waits for it.
func (p *program) protect(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (p *program) Helper()                  {}
func (p *program) Name() string             { return p.name }
func (p *program) Context() context.Context { return p.ctx }

func (p *program) Logf(format string, args ...any) {
	p.logMu.Lock()
	defer p.logMu.Unlock()
	// Nobody is left to tell when the log cannot be written.
	_, _ = fmt.Fprintf(p.log, format+"\n", args...)
}

func (p *program) Errorf(format string, args ...any) {
	p.Logf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

func (p *program) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

func (p *program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		p.Fatalf("make a directory for temporary files: %v", err)
	}
	p.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			p.Errorf("remove temporary files: %v", err)
		}
	})
	return dir
}
