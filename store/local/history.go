package local

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// change is one commit: its events all have the revision.
type change struct {
	rev    store.Rev
	events []store.Event
	leased []bool // of each event: a put that ends with the process
	size   int    // bytes of keys and values, and something for each event
}

func (c *change) add(e store.Event, leased bool) {
	c.events = append(c.events, e)
	c.leased = append(c.leased, leased)
	c.size += len(e.Key) + len(e.Value) + 64
}

// historySize bounds the memory that past changes take, for watches that lag behind or resume.
const historySize = 8 << 20

// batchEvents is about how many events a watch takes at once.
const batchEvents = 256

// history is the recent changes. Watches read it at their own pace, so a slow one costs nothing: what it missed is
// forgotten one day, and then it ends. Events in it are never changed.
type history struct {
	limit int

	mu      sync.Mutex // guards what follows
	floor   store.Rev  // changes up to this revision are forgotten
	changes []change   // in the order of revisions
	size    int
	more    chan struct{} // closed and replaced when changes are appended
	closed  bool
}

func newHistory(rev store.Rev, limit int) *history {
	return &history{limit: limit, floor: rev, more: make(chan struct{})}
}

// append adds the changes of one transaction.
func (h *history) append(changes []change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range changes {
		h.changes = append(h.changes, c)
		h.size += c.size
	}
	drop := 0
	for h.size > h.limit {
		h.floor = h.changes[drop].rev
		h.size -= h.changes[drop].size
		drop++
	}
	clear(h.changes[:drop]) // the array lives on until append replaces it; what it points to should not
	h.changes = h.changes[drop:]
	h.lockedWake()
}

// forget drops everything up to rev, because what led there is not known.
func (h *history) forget(rev store.Rev) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.floor, h.changes, h.size = rev, nil, 0
	h.lockedWake()
}

func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.lockedWake()
}

func (h *history) lockedWake() {
	close(h.more)
	h.more = make(chan struct{})
}

// since returns some of the events under prefix after the revision, the revision up to which that is all of them, and a
// channel that is closed when there is more; nil: there is more already.
func (h *history) since(after store.Rev, prefix string) (events []store.Event, seen store.Rev, more <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, 0, nil, errdefs.ErrClosed
	}
	if after < h.floor {
		return nil, 0, nil, fmt.Errorf("changes up to revision %d are forgotten: %w", h.floor, store.ErrCompacted)
	}
	seen = after
	start, _ := slices.BinarySearchFunc(h.changes, after+1, func(c change, rev store.Rev) int { return int(c.rev - rev) })
	for i, c := range h.changes[start:] {
		for _, e := range c.events {
			if strings.HasPrefix(e.Key, prefix) {
				events = append(events, e)
			}
		}
		seen = c.rev
		if len(events) >= batchEvents && start+i+1 < len(h.changes) {
			return events, seen, nil, nil
		}
	}
	return events, seen, h.more, nil
}

// Watch implements store.Store.
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
	for {
		events, seen, more, err := s.history.since(after, prefix)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := ctx.Err(); err != nil {
				return err
			}
			e.Value = bytes.Clone(e.Value)
			if !yield(e) {
				return nil
			}
		}
		if len(events) > 0 && !yield(store.Event{Record: store.Record{Rev: seen}}) {
			return nil
		}
		after = seen
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
