// Package store keeps libcnm's records: small values under slash-separated keys, changed by guarded transactions and
// followed by watches.
//
// Two implementations exist, store/local for one node and store/etcd for a cluster; store/storetest is the suite both
// pass and another must pass too. A store knows nothing of what the records mean.
package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// The error classes a store wraps; the same values as in package libcnm.
var (
	ErrNotFound    = errdefs.ErrNotFound    // Get of an absent key
	ErrConflict    = errdefs.ErrConflict    // a guard did not hold; nothing was changed
	ErrInvalid     = errdefs.ErrInvalid     // a malformed key, or two operations on one key
	ErrUnavailable = errdefs.ErrUnavailable // the store cannot be reached, or is full; the outcome of a commit may be unknown
	ErrClosed      = errdefs.ErrClosed
)

// ErrCompacted ends a Watch whose starting revision the store no longer has: List again, compare, and watch from the
// revision that List returned.
var ErrCompacted = errors.New("revision compacted")

// Rev is a store's revision: one number for the whole store that grows with every commit that changes something. 0 is
// before the first.
type Rev int64

// Record is one key with its value.
type Record struct {
	Key   string
	Value []byte
	Rev   Rev // the revision that wrote this value
}

// Guard is a condition of a Commit.
type Guard struct {
	Key string
	Rev Rev  // the key's value was written by this revision; 0: the key is absent
	Any bool // the key exists, at whatever revision; Rev is ignored
	// Prefix: Key is a prefix ending in "/" and no key exists under it; Rev and Any are ignored.
	Prefix bool
}

// Absent guards that key does not exist.
func Absent(key string) Guard { return Guard{Key: key} }

// Exists guards that key exists.
func Exists(key string) Guard { return Guard{Key: key, Any: true} }

// AbsentPrefix guards that no key exists under prefix, which ends in "/".
func AbsentPrefix(prefix string) Guard { return Guard{Key: prefix, Prefix: true} }

// Unchanged guards that key's value is still the one r holds.
func Unchanged(r Record) Guard { return Guard{Key: r.Key, Rev: r.Rev} }

// Op is one change of a Commit: a put or a delete of one key, or a delete of all keys under a prefix.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
	Prefix bool  // with Delete: Key is a prefix ending in "/"
	Lease  Lease // a put that vanishes with the lease; nil: lasting
}

// Put writes a lasting value.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// PutLeased writes a value that vanishes when l ends, unless it is put again without l by then. The commit is ErrNotFound
// if l has ended and ErrInvalid if another store granted it.
func PutLeased(key string, value []byte, l Lease) Op { return Op{Key: key, Value: value, Lease: l} }

// Delete removes a key; an absent one is no error.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// DeletePrefix removes every key under prefix, which ends in "/".
func DeletePrefix(prefix string) Op { return Op{Key: prefix, Delete: true, Prefix: true} }

// Event is one change seen by a Watch. All changes of a commit have its Rev and come one after another. A watch may also
// deliver an Event with an empty Key, between two commits and never inside one: no change, but everything up to Rev has
// been seen. Both stores of libcnm do so after changes, so a watcher can act on a commit as a whole.
type Event struct {
	Record  // for a delete: Key and the deleting Rev
	Deleted bool
}

// Store is a transactional key-value store. Methods are safe for concurrent use. Keys are 1 to 512 bytes of
// [A-Za-z0-9_.:/-], without empty, "." or ".." parts; a prefix is "" or a key followed by "/". Values are never
// aliased: a caller may change the slice it gave or got. Every method returns soon after ctx ends, with an error that
// wraps ctx.Err(), and with ErrUnavailable too when the store was what it waited for.
type Store interface {
	// Get returns the record at key, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)
	// List returns all records under prefix in key order, and the revision they are the state of.
	List(ctx context.Context, prefix string) ([]Record, Rev, error)
	// Commit applies all ops if all guards hold, else nothing (ErrConflict). It is durable when it returns, with the
	// revision its changes have, or the store's if they are none. No two ops may touch one key; MaxOps and MaxBytes
	// limit it.
	//
	// After ErrUnavailable the outcome may be unknown: the commit can have happened, or happen yet. To find out, repeat
	// it. One that creates or changes a guarded key cannot happen twice: the repetition is ErrConflict if it did
	// happen, and the key then holds the caller's own value.
	Commit(ctx context.Context, guards []Guard, ops ...Op) (Rev, error)
	// Watch yields the changes under prefix made after the revision, in order, each once. It reconnects by itself
	// and ends only with an error: the context's, ErrCompacted or ErrClosed. The sequence is for one use.
	Watch(ctx context.Context, prefix string, after Rev) iter.Seq2[Event, error]
	// Close ends watches, stops keeping leases alive and releases the Store. What was put with a lease stays until the
	// lease has expired, so that a process that restarts is not missed. Later calls return ErrClosed.
	Close() error
}

// Leaser is implemented by stores whose records can be tied to the life of this process.
type Leaser interface {
	// Grant starts a lease and keeps it alive until Revoke, Close, or the loss of the store for longer than ttl.
	// A store without time of its own keeps leased records until Close, or after a crash until it is opened next.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
}

// Lease keeps the records put with it.
type Lease interface {
	// Done is closed when the lease has ended for whatever reason; its records are gone or about to go.
	Done() <-chan struct{}
	// Revoke ends the lease and deletes its records.
	Revoke(ctx context.Context) error
}
