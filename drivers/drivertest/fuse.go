package drivertest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/libcnm/libcnm/drivers"
)

// fuse is a context that ends after it has been looked at a number of times. It interrupts a method at each place
// where the method would notice, in the same order every time, which no timer could do.
type fuse struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64
}

func newFuse(parent context.Context, looks int) *fuse {
	ctx, cancel := context.WithCancel(parent)
	f := &fuse{Context: ctx, cancel: cancel}
	f.left.Store(int64(looks))
	return f
}

func (f *fuse) look() {
	if f.left.Add(-1) < 0 {
		f.cancel()
	}
}

func (f *fuse) Err() error {
	f.look()
	return f.Context.Err()
}

func (f *fuse) Done() <-chan struct{} {
	f.look()
	return f.Context.Done()
}

// blown reports whether the context has ended.
func (f *fuse) blown() bool { return f.Context.Err() != nil }

func isClosed(err error) bool { return errors.Is(err, drivers.ErrClosed) }
