package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/store"
)

var watchLaws = []law{
	{
		name:  "a watch sees each change once and in order",
		why:   "peers' flows follow the watch; a lost delete would keep sending traffic to a dead endpoint",
		check: watchSeesChanges,
	},
	{
		name:  "a watch starts after any revision",
		why:   "a watcher resumes after the last revision it saw, and a first one after the list it made",
		check: watchStartsAnywhere,
	},
	{
		name:  "a watch sees only its prefix",
		why:   "a node watches the networks it is a member of, not all of them",
		check: watchSeesPrefix,
	},
	{
		name:  "watches do not disturb each other",
		why:   "many parts of a controller watch at once, and each goes at its own pace",
		check: watchesAreIndependent,
	},
	{
		name:  "a watch ends with its context",
		why:   "each goroutine has an owner who can end it",
		check: watchEndsWithContext,
	},
	{
		name:  "a watch of forgotten revisions says so",
		why:   "a watcher that was told nothing would believe that nothing happened",
		check: watchIsCompacted,
		needs: func(s *suite) bool { return s.compact != nil },
	},
}

// watcher collects a watch's events.
type watcher struct {
	k      *checker
	cancel context.CancelFunc
	events chan store.Event
	err    chan error // capacity 1: how the watch ended, nil when the watcher did
	seen   store.Rev  // everything up to there was delivered
}

// watch starts a watch that ends with the law.
func (k *checker) watch(prefix string, after store.Rev) *watcher {
	ctx, cancel := context.WithCancel(k.ctx)
	w := &watcher{k: k, cancel: cancel, events: make(chan store.Event), err: make(chan error, 1), seen: after}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range k.Watch(ctx, prefix, after) {
			if err != nil {
				w.err <- err
				return
			}
			select {
			case w.events <- e:
			case <-ctx.Done():
				w.err <- ctx.Err()
				return
			}
		}
		w.err <- nil
	}()
	k.Cleanup(func() { cancel(); <-done })
	return w
}

// next returns the next change.
func (w *watcher) next() store.Event {
	w.k.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-w.events:
			if e.Rev < w.seen || e.Key != "" && e.Rev == w.seen {
				w.k.Fatalf("watch delivers %q at revision %d when everything up to %d was delivered", e.Key, e.Rev, w.seen)
			}
			if e.Key == "" {
				w.seen = e.Rev
				continue
			}
			return e
		case err := <-w.err:
			w.k.Fatalf("watch ended: %v", err)
		case <-timeout:
			w.k.Fatalf("no change for %v", patience)
		}
	}
}

// end waits until the watch ends and returns its error; changes that still come are dropped.
func (w *watcher) end() error {
	w.k.Helper()
	timeout := time.After(patience)
	for {
		select {
		case <-w.events:
		case err := <-w.err:
			return err
		case <-timeout:
			w.k.Fatalf("watch has not ended for %v", patience)
		}
	}
}

// expect fails unless the next changes are want, written as "+key=value@rev" and "-key@rev".
func (w *watcher) expect(want ...string) {
	w.k.Helper()
	var got []string
	for range want {
		got = append(got, text(w.next()))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.k.Errorf("watch (-want +got):\n%s", diff)
	}
}

func text(e store.Event) string {
	if e.Deleted {
		return fmt.Sprintf("-%s@%d", e.Key, e.Rev)
	}
	return fmt.Sprintf("+%s=%s@%d", e.Key, e.Value, e.Rev)
}

func put(key, value string, rev store.Rev) string { return fmt.Sprintf("+%s=%s@%d", key, value, rev) }
func del(key string, rev store.Rev) string        { return fmt.Sprintf("-%s@%d", key, rev) }

func watchSeesChanges(k *checker) {
	w := k.watch("", k.rev())
	r1 := k.put("a", "1")
	w.expect(put("a", "1", r1))
	r2 := k.put("a", "2")
	r3 := k.commit(nil, store.Delete("a"), store.Delete("none"))
	r4 := k.put("d/1", "4")
	r5 := k.put("d/2", "5")
	r6 := k.commit(nil, store.DeletePrefix("d/"), store.Delete("none"))
	w.expect(put("a", "2", r2), del("a", r3), put("d/1", "4", r4), put("d/2", "5", r5))
	// A prefix has no order of its own.
	got := map[string]bool{text(w.next()): true, text(w.next()): true}
	if want := map[string]bool{del("d/1", r6): true, del("d/2", r6): true}; !cmp.Equal(want, got) {
		k.Errorf("delete of a prefix (-want +got):\n%s", cmp.Diff(want, got))
	}
	k.refuse(store.ErrConflict, []store.Guard{store.Exists("none")}, store.Put("never", nil))
	w.expect(put("last", "", k.put("last", "")))
}

func watchStartsAnywhere(k *checker) {
	start := k.rev()
	var revs []store.Rev
	for i := range 10 {
		revs = append(revs, k.commit(nil, store.Put(fmt.Sprintf("a/%d", i), nil), store.Put("b/n", nil)))
	}
	for i, after := range append([]store.Rev{start}, revs...) {
		w := k.watch("a/", after)
		for j, rev := range revs[i:] {
			w.expect(put(fmt.Sprintf("a/%d", i+j), "", rev))
		}
	}
	_, rev := k.list("a/")
	w, ahead := k.watch("a/", rev), k.watch("a/", rev+1)
	r1 := k.put("a/next", "1")
	r2 := k.put("a/next", "2")
	w.expect(put("a/next", "1", r1), put("a/next", "2", r2))
	if r1 == rev+1 { // else someone else shares the store's revisions
		ahead.expect(put("a/next", "2", r2))
	}
}

func watchSeesPrefix(k *checker) {
	from := k.rev()
	w, all := k.watch("a/1/", from), k.watch("", from)
	k.commit(nil, store.Put("a/1", nil), store.Put("a/10", nil), store.Put("a/1.x", nil), store.Put("b/1/x", nil))
	rev := k.commit(nil, store.Put("a/1/x", []byte("1")), store.Put("a/2/x", nil))
	k.commit(nil, store.DeletePrefix("b/"))
	gone := k.commit(nil, store.DeletePrefix("a/"))
	w.expect(put("a/1/x", "1", rev), del("a/1/x", gone))
	for range 4 + 2 + 1 + 5 {
		all.next()
	}
	last := k.put("a/1/last", "")
	w.expect(put("a/1/last", "", last))
	all.expect(put("a/1/last", "", last))
}

func watchesAreIndependent(k *checker) {
	from := k.rev()
	slow := k.watch("", from) // reads nothing while the others do
	fast := []*watcher{k.watch("", from), k.watch("a/", from), k.watch("", from)}
	var want []string
	for i := range 100 {
		want = append(want, put("a/x", fmt.Sprint(i), k.put("a/x", fmt.Sprint(i))))
	}
	fast[0].cancel()
	if err := fast[0].end(); !errors.Is(err, context.Canceled) {
		k.Errorf("cancelled watch ended with %v", err)
	}
	fast[1].expect(want...)
	fast[2].expect(want...)
	slow.expect(want...)
}

func watchEndsWithContext(k *checker) {
	w := k.watch("", k.rev())
	w.cancel()
	if err := w.end(); !errors.Is(err, context.Canceled) {
		k.Errorf("got %v, want context.Canceled", err)
	}
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	if err := firstError(k.Watch(ctx, "", 0)); !errors.Is(err, context.Canceled) {
		k.Errorf("watch with a cancelled context: got %v, want context.Canceled", err)
	}
	// A loop that is left ends the watch too, also when more changes wait.
	from := k.rev()
	k.put("a", "1")
	k.put("a", "2")
	for e, err := range k.Watch(k.ctx, "", from) {
		if err != nil || string(e.Value) != "1" {
			k.Errorf("first change is %q, %v", e.Value, err)
		}
		break
	}
}

func watchIsCompacted(k *checker) {
	from := k.rev()
	k.put("a", "1")
	rev := k.put("a", "2")
	k.suite.compact(k.T, k.Store, rev)
	if err := k.watch("", from).end(); !errors.Is(err, store.ErrCompacted) {
		k.Errorf("watch from a forgotten revision: got %v, want ErrCompacted", err)
	}
	// The way back: list, and watch from there.
	recs, rev := k.list("")
	if len(recs) == 0 || recs[0].Key != "a" || string(recs[0].Value) != "2" {
		k.Errorf("list after compaction: %s", dump(recs))
	}
	w := k.watch("", rev)
	w.expect(put("a", "3", k.put("a", "3")))
}

// firstError runs a watch that should fail at once.
func firstError(events iter.Seq2[store.Event, error]) error {
	for e, err := range events {
		if err == nil {
			return fmt.Errorf("delivered %+v", e)
		}
		return err
	}
	return nil
}

func isInvalid(err error) bool { return errors.Is(err, store.ErrInvalid) }

// with is k in a subtest.
func (k *checker) with(t *testing.T) *checker {
	sub := *k
	sub.T = t
	return &sub
}
