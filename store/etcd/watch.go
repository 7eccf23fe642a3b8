package etcd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/store"
)

// How long a watch that etcd ended waits before it asks again: not long at first, for that is a change of leader.
const (
	watchRetry    = 50 * time.Millisecond
	watchRetryMax = 2 * time.Second
)

// Watch implements store.Store. The client resumes it over broken connections; it is renewed here when etcd itself ended
// it, for want of a leader or of permission.
func (s *Store) Watch(ctx context.Context, prefix string, after store.Rev) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		if err := s.watch(ctx, prefix, after, func(e store.Event) bool { return yield(e, nil) }); err != nil {
			yield(store.Event{}, fmt.Errorf("watch %q: %w", prefix, err))
		}
	}
}

// watch yields events until it fails, or returns nil when yield says so.
func (s *Store) watch(ctx context.Context, prefix string, after store.Rev, yield func(store.Event) bool) error {
	if err := store.CheckWatch(prefix, after); err != nil {
		return err
	}
	retry := watchRetry
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		seen, err := s.watchOnce(ctx, prefix, after, yield)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case errors.Is(classify(err), store.ErrCompacted):
			return fmt.Errorf("%w: %w", err, store.ErrCompacted)
		case seen > after:
			after, retry = seen, watchRetry
		}
		s.log.Warn("watch interrupted", "prefix", prefix, "revision", int64(after), "retry", retry, "error", err)
		if err := s.pause(ctx, retry); err != nil {
			return err
		}
		retry = min(2*retry, watchRetryMax)
	}
}

var errWatchEnded = errors.New("watch ended")

// watchOnce yields the events of one watch of the client until it ends. It returns nil when yield says so, else why it
// ended and the revision up to which everything was yielded.
func (s *Store) watchOnce(ctx context.Context, prefix string, after store.Rev, yield func(store.Event) bool) (store.Rev, error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	responses := s.client.Watch(ctx, s.prefix+prefix, clientv3.WithPrefix(), clientv3.WithRev(int64(after)+1),
		clientv3.WithProgressNotify(), clientv3.WithFragment())
	for resp := range responses {
		if err := resp.Err(); err != nil {
			return after, err
		}
		for _, e := range resp.Events {
			// The client may still hold responses from before the end.
			if ctx.Err() != nil {
				return after, ctx.Err()
			}
			if !yield(store.Event{Record: s.record(e.Kv), Deleted: e.Type == clientv3.EventTypeDelete}) {
				return after, nil
			}
		}
		if n := len(resp.Events); n > 0 {
			after = store.Rev(resp.Events[n-1].Kv.ModRevision)
		} else if resp.IsProgressNotify() {
			after = max(after, store.Rev(resp.Header.Revision))
		} else {
			continue
		}
		if !yield(store.Event{Record: store.Record{Rev: after}}) {
			return after, nil
		}
	}
	return after, errWatchEnded
}
