// Package errdefs holds the error classes of libcnm, below every other package so that engines and stores can wrap
// them without importing each other. The public names are libcnm.ErrNotFound and so on.
//
// A class says what the caller can do next; the text that wraps it says what was attempted on what:
//
//	fmt.Errorf("subnet %s: host bits are set: %w", p, errdefs.ErrInvalid)
package errdefs

import "errors"

// The classes, each named for the caller's next step.
var (
	ErrNotFound    = errors.New("not found")        // create it, or stop looking
	ErrExists      = errors.New("already exists")   // use it, or choose another name
	ErrInUse       = errors.New("in use")           // free what uses it first
	ErrInvalid     = errors.New("invalid argument") // correct the call
	ErrExhausted   = errors.New("exhausted")        // free something, or enlarge the pool
	ErrConflict    = errors.New("conflict")         // read again and retry
	ErrUnsupported = errors.New("not supported")    // this host, driver or version cannot do it
	ErrUnavailable = errors.New("unavailable")      // retry later
	ErrClosed      = errors.New("already closed")   // open a new one
)
