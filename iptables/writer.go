package iptables

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// request is one caller's part of a batch: either an edit or a check.
type request struct {
	what    string
	edit    func(state) error // changes the state it is given, or refuses and leaves it alone
	touched []networkKey      // what edit may change
	read    bool              // compare with the host, not only with what was applied
	check   func(context.Context, state) error

	ctx  context.Context // the caller's; ends only its waiting, and the request if it has not begun
	done chan error      // buffered: the writer never waits for a caller
}

// applied is what the writer believes to be in force.
type applied struct {
	state state
	// rules counts the rules per network and port, by family and table: a table that goes from none to some or back
	// needs its fixed chains made or removed.
	rules map[Family]map[string]int
	stale bool // a restore failed, or nothing has been read yet: only the host knows
}

// do hands r to the writer and waits for the outcome.
func (f *Firewall) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	r.ctx, r.done = ctx, make(chan error, 1)
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return fmt.Errorf("%s: firewall: %w", r.what, errdefs.ErrClosed)
	}
	f.queue = append(f.queue, r)
	if !f.writing {
		f.writing = true
		f.writers.Go(f.write)
	}
	f.mu.Unlock()

	select {
	case err := <-r.done:
		if err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", r.what, ctx.Err())
	}
}

// write commits whatever is waiting until nothing is.
func (f *Firewall) write() {
	for {
		f.mu.Lock()
		batch := f.queue
		f.queue = nil
		f.writing = len(batch) > 0
		f.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		// Not a caller's context: the batch belongs to all of them. Each program run has its own deadline.
		ctx := context.Background()
		f.commit(ctx, batch)
		for _, r := range batch {
			if r.check == nil {
				continue
			}
			if err := r.ctx.Err(); err != nil {
				r.done <- err
				continue
			}
			r.done <- r.check(ctx, f.applied.state.clone())
		}
	}
}

// commit applies the edits of a batch and answers them. If the host refuses them together each is tried alone, so that
// one network's trouble is not the others'.
func (f *Firewall) commit(ctx context.Context, batch []*request) {
	next := f.applied.state.clone()
	var live []*request
	for _, r := range batch {
		if r.check != nil {
			continue
		}
		err := r.ctx.Err()
		if err == nil {
			err = r.edit(next)
		}
		if err != nil {
			r.done <- err
			continue
		}
		live = append(live, r)
	}
	if len(live) == 0 {
		return
	}
	err := f.apply(ctx, next, live)
	switch {
	case err == nil:
		next.forgetGone()
		f.applied.state = next
	case len(live) > 1:
		for _, r := range live {
			f.commit(ctx, []*request{r})
		}
		return
	}
	for _, r := range live {
		r.done <- err
	}
}

// apply brings next into force: by the few lines that differ from what was applied before where that is known, by
// reading the host's rules where it is not.
func (f *Firewall) apply(ctx context.Context, next state, edits []*request) error {
	read := f.applied.stale
	touched := make(map[networkKey]bool)
	for _, r := range edits {
		read = read || r.read
		for _, k := range r.touched {
			touched[k] = true
			read = read || !f.applied.state.knows(k) // there may be leftovers of it
		}
	}
	if !read {
		ok, err := f.applyDelta(ctx, next, touched)
		if ok && err == nil {
			return nil
		}
	}
	// A second time, because another program may have changed the rules between our reading and our writing.
	err := f.repair(ctx, next)
	if err != nil {
		err = f.repair(ctx, next)
	}
	f.applied.stale = err != nil
	return err
}

// applyDelta applies what differs between the applied state and next. It reports false, and has done nothing, if that
// takes more than rules in existing lists. After an error only the host knows its rules.
func (f *Firewall) applyDelta(ctx context.Context, next state, touched map[networkKey]bool) (bool, error) {
	texts := make(map[Family]string, len(f.tools))
	rules := make(map[Family]map[string]int, len(f.tools))
	for _, t := range f.tools {
		d := newDelta()
		for k := range touched {
			d.change(f.applied.state.rulesOf(t.family, k), next.rulesOf(t.family, k))
		}
		var ok bool
		if rules[t.family], ok = d.recount(f.applied.rules[t.family]); !ok {
			return false, nil
		}
		texts[t.family] = d.String()
	}
	err := f.each(func(t tool) error {
		if texts[t.family] == "" {
			return nil
		}
		f.restores.Add(1)
		return t.restore(ctx, texts[t.family])
	})
	if err == nil {
		f.applied.rules = rules
	}
	return true, err
}

// repair reads the host's rules and makes next true.
func (f *Firewall) repair(ctx context.Context, next state) error {
	var mu sync.Mutex // guards rules
	rules := make(map[Family]map[string]int, len(f.tools))
	err := f.each(func(t tool) error {
		have, err := t.save(ctx)
		if err != nil {
			return err
		}
		want := next.want(t.family, have)
		if text, _ := plan(have, want); text != "" {
			f.restores.Add(1)
			if err := t.restore(ctx, text); err != nil {
				return err
			}
		}
		mu.Lock()
		defer mu.Unlock()
		rules[t.family] = want.count()
		return nil
	})
	if err == nil {
		f.applied.rules = rules
	}
	return err
}

// differences reads the host's rules and compares them with s.
func (f *Firewall) differences(ctx context.Context, s state) ([]Difference, error) {
	found := make([][]Difference, len(f.tools))
	err := f.each(func(t tool) error {
		have, err := t.save(ctx)
		if err != nil {
			return err
		}
		_, diffs := plan(have, s.want(t.family, have))
		for i := range f.tools {
			if f.tools[i].family == t.family {
				found[i] = diffs
			}
		}
		return nil
	})
	var all []Difference
	for _, d := range found {
		all = append(all, d...)
	}
	return all, err
}

// each runs fn for all families at the same time.
func (f *Firewall) each(fn func(tool) error) error {
	errs := make([]error, len(f.tools))
	var wg sync.WaitGroup
	for i, t := range f.tools {
		wg.Go(func() { errs[i] = fn(t) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
