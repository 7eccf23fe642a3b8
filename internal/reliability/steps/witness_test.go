package steps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/libcnm/libcnm/internal/step"
)

// picture is a host and its stores: object to what it is like.
type picture map[string]string

// witness compares each step's beginning with the end of the one before. Steps that overlap are one to it.
type witness struct {
	look func(context.Context) (picture, error)
	ctx  context.Context // steps have none

	mu     sync.Mutex // guards what follows; held while looking, so that no other step begins meanwhile
	idle   *sync.Cond // open is 0
	open   int
	last   picture
	before string // the step that ended last
	acts   []act
	errs   []error
}

// act is an operation and what the witness has to say of it.
type act struct {
	Name      string   `json:"name"`
	Steps     []string `json:"steps"`
	Looks     int      `json:"looks"`     // between steps
	Seen      int      `json:"seen"`      // steps that changed what the witness sees
	Unstepped []string `json:"unstepped"` // changes between two steps
}

// watch returns what happened in the deeds. What begins in the background after a deed counts as its.
func watch(ctx context.Context, look func(context.Context) (picture, error), deeds []deed) ([]act, error) {
	w := &witness{look: look, ctx: ctx, before: "the beginning"}
	w.idle = sync.NewCond(&w.mu)
	var err error
	if w.last, err = look(ctx); err != nil {
		return nil, err
	}
	step.Observe(w.observe)
	defer step.Observe(nil)
	for _, d := range deeds {
		w.mu.Lock()
		w.acts = append(w.acts, act{Name: d.name})
		w.mu.Unlock()
		if err := d.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		w.mu.Lock()
		for w.open > 0 { // in the background
			w.idle.Wait()
		}
		w.lockedLook("the end")
		w.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.acts), errors.Join(w.errs...)
}

func (w *witness) observe(name string, at step.Moment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := &w.acts[len(w.acts)-1]
	if at == step.Before {
		now.Steps = append(now.Steps, name)
		if w.open == 0 {
			w.lockedLook(name)
		}
		w.open++
		return
	}
	if w.open--; w.open > 0 {
		return
	}
	w.idle.Broadcast()
	picture, err := w.look(w.ctx)
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("after %s: %w", name, err))
		return
	}
	if len(changes(w.last, picture)) > 0 {
		now.Seen++
	}
	w.last, w.before = picture, name
}

// lockedLook compares now with the end of the last step.
func (w *witness) lockedLook(next string) {
	now, err := w.look(w.ctx)
	if err != nil {
		w.errs = append(w.errs, fmt.Errorf("before %s: %w", next, err))
		return
	}
	a := &w.acts[len(w.acts)-1]
	a.Looks++
	for _, c := range changes(w.last, now) {
		a.Unstepped = append(a.Unstepped, fmt.Sprintf("between %s and %s: %s", w.before, next, c))
	}
	w.last = now
}

// changes names every difference.
func changes(was, is picture) []string {
	var list []string
	for object, state := range was {
		if now, there := is[object]; !there {
			list = append(list, fmt.Sprintf("%s: is gone, was %q", object, state))
		} else if now != state {
			list = append(list, fmt.Sprintf("%s: %q, was %q", object, now, state))
		}
	}
	for _, object := range slices.Sorted(maps.Keys(is)) {
		if _, there := was[object]; !there {
			list = append(list, fmt.Sprintf("%s: %q is new", object, is[object]))
		}
	}
	return list
}
