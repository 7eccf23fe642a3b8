package hostfault

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pace measures how slow the machine is meanwhile: it keeps one thread working now and then, and compares the time that
// takes with the time the thread runs.
type pace struct {
	stop chan struct{}
	done sync.WaitGroup

	took, ran time.Duration // of the thread; to be read after done
	err       error
}

const (
	paceWork  = 20 * time.Millisecond // more than one slice of the scheduler's
	paceEvery = 500 * time.Millisecond
	// On a machine on which everything takes twice as long as it would alone a promise is a promise; from there on time
	// passes in proportion, up to the most.
	paceEasy = 2
	paceMost = 8
)

func startPace(t *testing.T) *pace {
	t.Helper()
	p := &pace{stop: make(chan struct{})}
	p.done.Go(p.measure)
	t.Cleanup(func() { p.slowness(t) })
	return p
}

func (p *pace) measure() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for p.err == nil {
		p.work()
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
	}
}

// work makes the thread run for a while.
func (p *pace) work() {
	start := time.Now()
	first, err := threadTime()
	ran := time.Duration(0)
	for err == nil && ran < paceWork {
		var now time.Duration
		now, err = threadTime()
		ran = now - first
	}
	p.took, p.ran, p.err = p.took+time.Since(start), p.ran+ran, err
}

func threadTime() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano()), err
}

// slowness ends the measurement and returns by what promises are to be multiplied.
func (p *pace) slowness(t *testing.T) float64 {
	t.Helper()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.done.Wait()
	must(t, p.err)
	return min(max(1, p.took.Seconds()/p.ran.Seconds()/paceEasy), paceMost)
}

func (p *pace) allowed(t *testing.T, promise time.Duration) time.Duration {
	t.Helper()
	return time.Duration(float64(promise) * p.slowness(t))
}
