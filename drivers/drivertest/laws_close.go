package drivertest

import (
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/drivers"
)

func closeLaws() []law {
	return []law{
		{
			name:  "close/data plane",
			why:   "Close ends the driver, not the networks: traffic flows on and the next driver finds everything",
			check: checkCloseKeeps,
		},
		{
			name:  "close/later calls",
			why:   "a closed driver answers ErrClosed and changes nothing; closing it again does no harm",
			check: checkCloseLater,
		},
		{
			name:  "close/goroutines",
			why:   "every goroutine a driver starts has ended when Close returns",
			check: checkCloseGoroutines,
		},
	}
}

func checkCloseKeeps(e *env) {
	full := e.world.full()
	e.sync(e.d, full.want)
	before := e.host.Dump()
	e.must(e.d.Close(), "Close")
	e.expect(before, "Close")
	e.d = e.open()
	e.sync(e.d, full.want)
	e.expect(before, "the next driver's Sync")
}

func checkCloseLater(e *env) {
	s := e.world.single()
	e.build(e.d, s)
	before := e.host.Dump()
	var events <-chan string
	if n, ok := drivers.As[drivers.Notifier](e.d); ok {
		events = n.Events()
	}
	e.must(e.d.Close(), "Close")
	if err := e.d.Close(); err != nil && !isClosed(err) {
		e.Errorf("Close, the second time: %v, want nil or ErrClosed", err)
	}
	for _, c := range e.calls(s) {
		if err := c.do(e.ctx, e.d); !isClosed(err) {
			e.Errorf("%s of a closed driver: %v, want ErrClosed", c.name, err)
		}
	}
	e.expect(before, "calls of a closed driver")
	if events != nil && !e.eventually(func() bool {
		select {
		case _, open := <-events:
			return !open
		default:
			return false
		}
	}) {
		e.Errorf("Events is still open after Close")
	}
}

// checkCloseGoroutines tells the driver's goroutines from all others by a profiler label, which goroutines inherit.
func checkCloseGoroutines(e *env) {
	s := e.world.single() // makes sandboxes, whose helpers are not the driver's
	e.must(e.d.Close(), "Close")
	mark := fmt.Sprintf("law %d", e.rnd.Uint64())
	pprof.Do(e.ctx, pprof.Labels("drivertest", mark), func(ctx context.Context) {
		for range 3 {
			d := e.open()
			e.build(d, s)
			e.must(d.Sync(ctx, nil), "Sync(nothing)")
			e.must(d.Close(), "Close")
		}
	})
	left := func() []string {
		var profile strings.Builder
		e.must(pprof.Lookup("goroutine").WriteTo(&profile, 1), "profile goroutines")
		return slices.DeleteFunc(strings.Split(profile.String(), "\n\n"), func(stack string) bool { return !strings.Contains(stack, mark) })
	}
	if !e.eventually(func() bool { return len(left()) == 0 }) {
		e.Errorf("goroutines left of three drivers that came and went:\n%s", strings.Join(left(), "\n\n"))
	}
}
