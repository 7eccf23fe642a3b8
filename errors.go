package libcnm

import (
	"github.com/libcnm/libcnm/internal/errdefs"
)

// Classes of errors, named for what the caller can do next. Test for them with errors.Is.
var (
	// ErrNotFound: the object does not exist (any more). Create it, or stop looking.
	ErrNotFound = errdefs.ErrNotFound
	// ErrExists: a name, address, MAC or VNI is taken. Use the existing object, or choose another.
	ErrExists = errdefs.ErrExists
	// ErrInUse: something depends on the object. Free that first; the text names it.
	ErrInUse = errdefs.ErrInUse
	// ErrInvalid: the call itself is wrong. Nothing was changed; correct it.
	ErrInvalid = errdefs.ErrInvalid
	// ErrExhausted: no address, subnet or VNI is left. Free something, or enlarge the pool.
	ErrExhausted = errdefs.ErrExhausted
	// ErrConflict: what was asked collides with another network, a host route, or a concurrent change.
	ErrConflict = errdefs.ErrConflict
	// ErrUnsupported: this driver, host or version cannot do it.
	ErrUnsupported = errdefs.ErrUnsupported
	// ErrUnavailable: Open vSwitch, etcd or another service does not answer. Retry later. After a store commit that
	// ended so, the outcome is unknown: look before repeating.
	ErrUnavailable = errdefs.ErrUnavailable
	// ErrClosed: the controller was closed. Open a new one.
	ErrClosed = errdefs.ErrClosed
)

// Error is what every method of this package returns when it fails: what was attempted, on what, and why. It unwraps
// to a class above, or to the context's error.
type Error struct {
	Op     string // "create network", "join endpoint"
	Object string // the name the caller used, quoted if it could confuse a log
	Err    error
}

func (e *Error) Error() string {
	if e.Object == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Object + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// wrap is used at the public edge only, as `defer wrap(&err, "delete network", name)`.
func wrap(err *error, op string, object ...string) {
	if *err == nil {
		return
	}
	e := &Error{Op: op, Err: *err}
	if len(object) > 0 {
		e.Object = printable(object[0])
	}
	*err = e
}
