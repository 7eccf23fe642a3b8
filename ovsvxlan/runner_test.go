package ovsvxlan

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Callers that come while a pass runs share the next one.
func TestRunnerShares(t *testing.T) {
	const callers = 100
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var served []int // by one pass at a time
	r := newRunner(func(_ context.Context, keys []int) map[int]error {
		once.Do(func() {
			close(started)
			<-release
		})
		served = append(served, keys...)
		if slices.Contains(keys, 7) {
			return map[int]error{7: errdefs.ErrInvalid}
		}
		return nil
	})
	errs := make([]error, callers)
	var wg sync.WaitGroup
	wg.Go(func() { errs[0] = r.do(t.Context(), 0) })
	<-started
	for i := 1; i < callers; i++ {
		wg.Go(func() { errs[i] = r.do(t.Context(), i) })
	}
	for queued := 0; queued < callers-1; {
		r.mu.Lock()
		queued = len(r.order)
		r.mu.Unlock()
	}
	close(release)
	wg.Wait()
	r.close()
	if n := r.passes.Load(); n != 2 {
		t.Errorf("%d callers took %d passes, want 2", callers, n)
	}
	if len(served) != callers {
		t.Errorf("%d keys served, want each of %d once", len(served), callers)
	}
	for i, err := range errs {
		if (err != nil) != (i == 7) {
			t.Errorf("caller %d got %v", i, err)
		}
	}
}

func TestRunnerEnds(t *testing.T) {
	running := make(chan struct{})
	r := newRunner(func(ctx context.Context, keys []string) map[string]error {
		close(running)
		<-ctx.Done()
		return failAll(keys, ctx.Err())
	})
	ended, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- r.do(ended, "a") }()
	<-running
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller whose context ended got %v", err)
	}
	go func() { second <- r.do(t.Context(), "b") }()
	for waiting := 0; waiting == 0; {
		r.mu.Lock()
		waiting = len(r.order)
		r.mu.Unlock()
	}
	r.close()
	if err := <-second; !errors.Is(err, errdefs.ErrClosed) {
		t.Errorf("a caller that waited at the end got %v", err)
	}
	if err := r.do(t.Context(), "c"); !errors.Is(err, errdefs.ErrClosed) {
		t.Errorf("a late caller got %v", err)
	}
}

// One refused key costs its neighbours a few commits and not their success.
func TestBisect(t *testing.T) {
	refused, away := errors.New("refused"), errors.New("away")
	all := make([]int, 50)
	for i := range all {
		all[i] = i
	}
	for _, c := range []struct {
		name    string
		bad     []int
		fails   error
		failed  int
		commits int // at most
	}{
		{"none", nil, refused, 0, 1},
		{"one", []int{17}, refused, 1, 13},
		{"two", []int{0, 49}, refused, 2, 25},
		{"no answer", []int{17}, away, len(all), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			commits := 0
			var done []int
			errs := bisect(all, func(keys []int) error {
				commits++
				for _, bad := range c.bad {
					if slices.Contains(keys, bad) {
						return c.fails
					}
				}
				done = append(done, keys...)
				return nil
			}, func(err error) bool { return errors.Is(err, refused) })
			if len(errs) != c.failed || len(done) != len(all)-c.failed {
				t.Errorf("%d failed %v, %d committed", len(errs), slices.Sorted(maps.Keys(errs)), len(done))
			}
			if commits > c.commits {
				t.Errorf("%d commits, want at most %d", commits, c.commits)
			}
		})
	}
}
