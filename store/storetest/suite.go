package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/store"
)

// patience bounds every wait; a store that needs longer has not answered.
const patience = 30 * time.Second

// Option tells Run what else the implementation can do.
type Option func(*suite)

// WithReopen lets the suite check what outlives a store. reopen is given one that was opened by open and has been closed
// and returns a new one with the same contents.
func WithReopen(reopen func(t *testing.T, closed store.Store) store.Store) Option {
	return func(s *suite) { s.reopen = reopen }
}

// WithCompact lets the suite check watches of forgotten revisions. compact makes s forget the changes up to rev, which is
// its current one; it may commit to do so.
func WithCompact(compact func(t *testing.T, s store.Store, rev store.Rev)) Option {
	return func(s *suite) { s.compact = compact }
}

// Run checks all laws. open returns a store without records, which the suite closes.
func Run(t *testing.T, open func(t *testing.T) store.Store, opts ...Option) {
	s := &suite{open: open}
	for _, opt := range opts {
		opt(s)
	}
	for _, group := range [][]law{readLaws, commitLaws, watchLaws, concurrencyLaws, leaseLaws, lifeLaws} {
		for _, l := range group {
			t.Run(l.name, func(t *testing.T) { s.check(t, l) })
		}
	}
}

type suite struct {
	open    func(t *testing.T) store.Store
	reopen  func(t *testing.T, closed store.Store) store.Store
	compact func(t *testing.T, s store.Store, rev store.Rev)
}

// law is one thing every store does, and the reason for it.
type law struct {
	name, why string
	check     func(k *checker)
	needs     func(s *suite) bool // nil: nothing
}

func (s *suite) check(t *testing.T, l law) {
	if l.needs != nil && !l.needs(s) {
		t.Skip("the implementation's test does not offer what this law needs")
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the law: %s", l.why)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	k := &checker{T: t, suite: s, ctx: ctx, Store: s.open(t)}
	defer func() {
		if err := k.Store.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	}()
	l.check(k)
}

// checker is a store under test with the vocabulary of the laws.
type checker struct {
	*testing.T
	store.Store
	suite *suite
	ctx   context.Context
}

// commit commits what must succeed.
func (k *checker) commit(guards []store.Guard, ops ...store.Op) store.Rev {
	k.Helper()
	rev, err := k.Commit(k.ctx, guards, ops...)
	if err != nil {
		k.Fatalf("commit %s: %v", describe(guards, ops), err)
	}
	return rev
}

// put puts one value that must be accepted.
func (k *checker) put(key, value string) store.Rev {
	k.Helper()
	return k.commit(nil, store.Put(key, []byte(value)))
}

// refuse commits what must fail with want and change nothing.
func (k *checker) refuse(want error, guards []store.Guard, ops ...store.Op) {
	k.Helper()
	before := k.dump()
	if _, err := k.Commit(k.ctx, guards, ops...); !errors.Is(err, want) {
		k.Errorf("commit %s: got error %v, want %v", describe(guards, ops), err, want)
	}
	if after := k.dump(); after != before {
		k.Errorf("commit %s was refused but changed\n%s\nto\n%s", describe(guards, ops), before, after)
	}
}

func (k *checker) list(prefix string) ([]store.Record, store.Rev) {
	k.Helper()
	recs, rev, err := k.List(k.ctx, prefix)
	if err != nil {
		k.Fatalf("list %q: %v", prefix, err)
	}
	return recs, rev
}

// rev is the store's revision.
func (k *checker) rev() store.Rev {
	k.Helper()
	_, rev := k.list("none/")
	return rev
}

// dump is the store's contents as text, without the store's own revision: other users of a shared one may raise it.
func (k *checker) dump() string {
	k.Helper()
	recs, _ := k.list("")
	return dump(recs)
}

func dump(recs []store.Record) string {
	var text strings.Builder
	for _, r := range recs {
		fmt.Fprintf(&text, "%s=%.60q@%d ", r.Key, r.Value, r.Rev)
	}
	return text.String()
}

// keys lists the keys under prefix.
func (k *checker) keys(prefix string) []string {
	k.Helper()
	recs, _ := k.list(prefix)
	keys := make([]string, 0, len(recs))
	for _, r := range recs {
		keys = append(keys, r.Key)
	}
	return keys
}

// get returns the record at key, which must exist.
func (k *checker) get(key string) store.Record {
	k.Helper()
	r, err := k.Get(k.ctx, key)
	if err != nil {
		k.Fatalf("get %s: %v", key, err)
	}
	return r
}

// absent fails unless there is no record at key.
func (k *checker) absent(key string) {
	k.Helper()
	if r, err := k.Get(k.ctx, key); !errors.Is(err, store.ErrNotFound) {
		k.Errorf("get %s: got %q, %v, want ErrNotFound", key, r.Value, err)
	}
}

// eventually waits until cond holds.
func (k *checker) eventually(what string, cond func() bool) {
	k.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			k.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// describe is a commit as text, shortened.
func describe(guards []store.Guard, ops []store.Op) string {
	const most = 3
	var text strings.Builder
	for _, g := range guards[:min(len(guards), most)] {
		fmt.Fprintf(&text, "if{%.40q rev %d any %t prefix %t} ", g.Key, g.Rev, g.Any, g.Prefix)
	}
	for _, op := range ops[:min(len(ops), most)] {
		fmt.Fprintf(&text, "{%.40q %.20q delete %t prefix %t} ", op.Key, op.Value, op.Delete, op.Prefix)
	}
	fmt.Fprintf(&text, "(%d guards, %d ops)", len(guards), len(ops))
	return text.String()
}
