package keyed

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func TestOneKeyIsOrdered(t *testing.T) {
	var (
		q     Queue
		wg    sync.WaitGroup
		count int // guarded by key "a" alone: the race detector is the test
	)
	for range 200 {
		wg.Go(func() {
			release, err := q.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			count++
		})
	}
	wg.Wait()
	if count != 200 {
		t.Errorf("count = %d, want 200", count)
	}
	if len(q.busy) != 0 {
		t.Errorf("%d keys left behind", len(q.busy))
	}
}

func TestKeysAreIndependent(t *testing.T) {
	var q Queue
	for i := range 10 {
		release, err := q.Lock(t.Context(), strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		defer release()
	}
}

func TestWaitingEndsWithContext(t *testing.T) {
	var q Queue
	release, err := q.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Lock(ctx, "a"); !errors.Is(err, context.Canceled) || !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("second Lock = %v, want %v and %v", err, context.Canceled, errdefs.ErrUnavailable)
	}
	release()
	again, err := q.Lock(t.Context(), "a")
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again()
}
