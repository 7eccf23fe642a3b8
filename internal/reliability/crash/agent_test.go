package crash

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

const (
	// aftermath is how long nothing must happen before an operation counts as over: what it leaves to the background
	// begins at once.
	aftermath = 30 * time.Millisecond

	// call is the step that is the whole operation.
	call = "call"
)

type none struct{}

// task names an operation of a driver.
type task struct {
	Operation string  `json:"operation"`
	Driver    string  `json:"driver"`
	At        opening `json:"at"`
	Aim       target  `json:"aim"`
}

// joined says where a sandbox is, and whom it must reach.
type joined struct {
	Key   string       `json:"key,omitempty"`
	Reach []netip.Addr `json:"reach,omitempty"`
}

// handlers are what the processes that die are asked to do.
func handlers() map[string]agent.Handler {
	w := new(world)
	return map[string]agent.Handler{
		"open":      handle(w, w.opened),
		"bystand":   handle(w, w.bystand),
		"prepare":   handle(w, w.prepare),
		"run":       handle(w, w.run),
		"repeat":    handle(w, w.repeat),
		"settle":    handle(w, w.settle),
		"clean":     handle(w, func(ctx context.Context, _ none) (none, error) { return none{}, w.clean(ctx) }),
		"inventory": handle(w, func(ctx context.Context, _ none) ([]string, error) { return w.inventory(ctx) }),
	}
}

// handle makes a method of the world a handler, one at a time.
func handle[P, R any](w *world, f func(context.Context, P) (R, error)) agent.Handler {
	return agent.Handle(func(ctx context.Context, p P) (R, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return f(ctx, p)
	})
}

func (w *world) opened(ctx context.Context, at opening) (none, error) {
	w.at = at
	return none{}, w.open(ctx)
}

// operation finds what the task names.
func (w *world) operation(t task) (*operation, error) {
	w.driver, w.at = t.Driver, t.At
	for _, op := range operations {
		if op.name == t.Operation {
			return &op, nil
		}
	}
	return nil, fmt.Errorf("operation %q: %w", t.Operation, errdefs.ErrNotFound)
}

// prepare brings the host from where every case begins to where the operation does.
func (w *world) prepare(ctx context.Context, t task) (none, error) {
	op, err := w.operation(t)
	if err != nil {
		return none{}, err
	}
	if op.fresh {
		if err := w.wipe(); err != nil {
			return none{}, err
		}
	}
	if op.prepare != nil {
		if err := errors.Join(w.open(ctx), op.prepare(ctx, w)); err != nil {
			return none{}, err
		}
	}
	if op.closed {
		return none{}, w.close()
	}
	return none{}, w.open(ctx)
}

// run does the operation and dies where it is aimed at. It returns the moments of a process that did not.
func (w *world) run(ctx context.Context, t task) ([]moment, error) {
	op, err := w.operation(t)
	if err != nil {
		return nil, err
	}
	w.witness.watch(t.Aim)
	if op.harm != nil {
		err = op.harm(ctx, w)
	}
	if err == nil {
		err = step.Do(call, func() error { return op.run(ctx, w) })
	}
	err = errors.Join(err, testutil.Wait(ctx, patience, func() error { return w.witness.quiet(aftermath) }))
	return w.witness.unwatch(), err
}

// repeat does the operation again, and sees that what it is for is true. After a death it may be refused because it
// had happened.
func (w *world) repeat(ctx context.Context, t task) (joined, error) {
	op, err := w.operation(t)
	if err != nil {
		return joined{}, err
	}
	if err := op.run(ctx, w); err != nil && (op.refused == nil || !errors.Is(err, op.refused)) {
		return joined{}, fmt.Errorf("repeated: %w", err)
	}
	if op.holds == nil {
		return joined{}, nil
	}
	at, err := op.holds(ctx, w)
	if err != nil {
		return joined{}, fmt.Errorf("after the operation: %w", err)
	}
	return at, nil
}
