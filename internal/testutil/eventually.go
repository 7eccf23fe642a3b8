package testutil

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	pollFirst = time.Millisecond
	pollMost  = 100 * time.Millisecond
)

// Eventually calls cond until it returns nil. When it has not within timeout, the test fails with cond's last error.
func Eventually(t TB, timeout time.Duration, cond func() error) {
	t.Helper()
	if err := Wait(t.Context(), timeout, cond); err != nil {
		t.Fatalf("%v", err)
	}
}

// Wait is Eventually for code that has no test at hand: it returns cond's last error, or nil.
func Wait(ctx context.Context, timeout time.Duration, cond func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := time.NewTimer(0)
	defer pause.Stop()
	last := errors.New("not tried")
	for next := pollFirst; ; next = min(next*3/2, pollMost) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v: %w (%w)", timeout, last, ctx.Err())
		case <-pause.C:
		}
		if last = cond(); last == nil {
			return nil
		}
		pause.Reset(next)
	}
}
