package storetest

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/store"
)

var lifeLaws = []law{
	{
		name:  "a cancelled context changes nothing",
		why:   "whoever gave up must not be surprised later",
		check: cancelledContext,
	},
	{
		name:  "a closed store says so",
		why:   "use after close is a bug to report, not to hide",
		check: closedStore,
	},
	{
		name:  "close leaves nothing behind",
		why:   "controllers come and go within one process",
		check: closeLeavesNothing,
	},
	{
		name:  "records outlive the store",
		why:   "that is what it is for",
		check: recordsSurvive,
		needs: func(s *suite) bool { return s.reopen != nil },
	},
}

// calls does everything a store can and returns the errors by name.
func calls(ctx context.Context, s store.Store) map[string]error {
	errs := map[string]error{}
	_, errs["get"] = s.Get(ctx, "a")
	_, _, errs["list"] = s.List(ctx, "")
	_, errs["commit"] = s.Commit(ctx, nil, store.Put("a", []byte("changed")))
	_, errs["commit of nothing"] = s.Commit(ctx, nil)
	errs["watch"] = firstError(s.Watch(ctx, "", 0))
	if l, ok := s.(store.Leaser); ok {
		_, errs["grant"] = l.Grant(ctx, 10*time.Second)
	}
	return errs
}

func cancelledContext(k *checker) {
	k.put("a", "1")
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	late, cancel := context.WithDeadline(k.ctx, time.Now().Add(-time.Second))
	defer cancel()
	for want, ctx := range map[error]context.Context{context.Canceled: ctx, context.DeadlineExceeded: late} {
		for name, err := range calls(ctx, k.Store) {
			if !errors.Is(err, want) {
				k.Errorf("%s: got %v, want %v", name, err, want)
			}
		}
	}
	if r := k.get("a"); string(r.Value) != "1" {
		k.Errorf("a cancelled commit wrote %q", r.Value)
	}
}

func closedStore(k *checker) {
	w := k.watch("", k.rev())
	w.expect(put("a", "1", k.put("a", "1"))) // it runs
	if err := k.Close(); err != nil {
		k.Fatalf("close: %v", err)
	}
	if err := w.end(); !errors.Is(err, store.ErrClosed) {
		k.Errorf("running watch ended with %v, want ErrClosed", err)
	}
	errs := calls(k.ctx, k.Store)
	errs["close"] = k.Close()
	for name, err := range errs {
		if !errors.Is(err, store.ErrClosed) {
			k.Errorf("%s: got %v, want ErrClosed", name, err)
		}
	}
}

func closeLeavesNothing(k *checker) {
	var s store.Store
	use := func() {
		k := k.with(k.T)
		k.Store = s
		ctx, cancel := context.WithCancel(k.ctx)
		defer cancel()
		from := k.rev()
		k.put("a", "1")
		for range 3 {
			for _, err := range k.Watch(ctx, "", from) {
				if err != nil {
					k.Errorf("watch: %v", err)
				}
				break
			}
		}
		if _, ok := s.(store.Leaser); ok {
			k.revoke(k.grant())
			k.commit(nil, store.PutLeased("b", nil, k.grant()))
		}
		if err := s.Close(); err != nil {
			k.Errorf("close: %v", err)
		}
	}
	s = k.suite.open(k.T)
	use() // what starts once per process has started
	before := runtime.NumGoroutine()
	s = k.suite.open(k.T)
	use()
	k.eventually("goroutines are back to where they were", func() bool { return runtime.NumGoroutine() <= before })
}

func recordsSurvive(k *checker) {
	k.put("a", "1")
	k.put("b/c", "2")
	k.commit(nil, store.Delete("a"))
	last := k.put("d", "3")
	want, _ := k.list("")
	if err := k.Close(); err != nil {
		k.Fatalf("close: %v", err)
	}
	k.Store = k.suite.reopen(k.T, k.Store)
	got, rev := k.list("")
	if diff := cmp.Diff(want, got); diff != "" || rev < last {
		k.Errorf("revision %d became %d; records (-want +got):\n%s", last, rev, diff)
	}
	if next := k.put("d", "4"); next <= rev {
		k.Errorf("revision %d follows %d", next, rev)
	}
	k.refuse(store.ErrConflict, []store.Guard{{Key: "d", Rev: last}}, store.Delete("d"))
	k.watch("", rev).expect(put("d", "4", k.get("d").Rev))
}
