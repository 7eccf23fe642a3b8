package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// rampUp is how long a sender sends before it counts: until the pipe is full and the CPUs are awake.
	rampUp = 10 * time.Millisecond

	// slice is shorter than what a scheduler gives to others before it is our turn again, and long enough for what
	// arrives at once to be little of it.
	slice = 2 * time.Millisecond
)

// meter counts what arrives, in slices of time. The median of the slices is the rate at which things arrive while the
// machine does nothing else; the mean would say as much of others as of the network.
type meter struct {
	total atomic.Int64

	// Of the receiver alone: where the present slice began.
	began time.Time
	until int64

	mu     sync.Mutex // guards slices
	slices []float64  // per second
}

// add counts n more, and returns how many there are. Only one goroutine may call it.
func (m *meter) add(n int64) int64 {
	total, now := m.total.Add(n), time.Now()
	if took := now.Sub(m.began); took >= slice {
		m.mu.Lock()
		m.slices = append(m.slices, float64(total-m.until)/took.Seconds())
		m.mu.Unlock()
		m.began, m.until = now, total
	}
	return total
}

// take returns the slices since the last call.
func (m *meter) take() []float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices := m.slices
	m.slices = nil
	return slices
}

// rate is how many things per second arrive while send is sending for d, or longer if nothing has arrived yet.
func (m *meter) rate(d time.Duration, send func(until time.Time) error) (float64, error) {
	if err := send(time.Now().Add(rampUp)); err != nil {
		return 0, err
	}
	m.take() // one of them began when nobody was sending
	for start := time.Now(); ; {
		if err := send(time.Now().Add(d)); err != nil {
			return 0, err
		}
		if slices := m.take(); len(slices) > 0 {
			return middle(slices), nil
		}
		if took := time.Since(start); took > drainTimeout {
			return 0, fmt.Errorf("nothing has arrived in %s", took)
		}
	}
}
