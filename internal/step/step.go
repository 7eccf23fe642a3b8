// Package step gives every change of a store or of the host a name and two moments, before and after, so that a test can
// end the process at each of them. Whoever adds a change makes it inside Do; package house finds those that do not.
//
//	err := step.Do("mount namespace", func() error { return unix.Mount(...) })
//
// Without an observer, which only tests have, Do costs one atomic load.
package step

import "sync/atomic"

// Moment is a side of a step.
type Moment string

// The moments of a step.
const (
	Before Moment = "before"
	After  Moment = "after"
)

// Observer is told of every step, from the goroutine that makes it and therefore by several at once. The change waits for
// it.
type Observer func(name string, at Moment)

// observer is the process's: a process has one death.
var observer atomic.Pointer[Observer]

// Observe installs o for the whole process, instead of the one there was; nil for none.
func Observe(o Observer) {
	if o == nil {
		observer.Store(nil)
		return
	}
	observer.Store(&o)
}

// DoNamed is Do for a change whose name must be put together, which only an observer needs.
func DoNamed(name func() string, change func() error) error {
	if observer.Load() == nil {
		return change()
	}
	return Do(name(), change)
}

// Do makes a change, which is called what it does to what kind of object: "add route", "commit to etcd".
func Do(name string, change func() error) error {
	o := observer.Load()
	if o == nil {
		return change()
	}
	(*o)(name, Before)
	err := change()
	(*o)(name, After)
	return err
}
