package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/internal/step"
)

const (
	// bundleTimeout bounds one ovs-ofctl: 50,000 flows take two seconds.
	bundleTimeout = 20 * time.Second
	// upTimeout is how long a change waits for a bridge that is just being made, or a daemon that restarts.
	upTimeout = 5 * time.Second
)

// errRejected marks a bundle that the switch, or ovs-ofctl reading it, did not accept. Nothing of it was applied.
var errRejected = errors.New("bundle rejected")

// flows keeps the bridge's flows and groups equal to the programs wanted. Its pass belongs to one runner.
type flows struct {
	socket string
	watch  *ofWatch
	log    *slog.Logger
	runner *runner[Object]

	mu      sync.Mutex // guards the following
	wanted  map[Object]Program
	changed map[Object]struct{} // differ from applied, whoever waits for them
	resync  bool                // what the bridge holds is not known
	// exclusive: everything on the bridge that is not wanted goes. Before the first Sync a new process knows only part
	// of what should be there, and deletes nothing.
	exclusive bool

	// Only the pass uses these.
	applied map[Object]Program
	failed  map[Object]error // rejected, and not wanted otherwise since
	epoch   uint64           // in which applied was right

	bundles atomic.Uint64
}

func newFlows(socket string, watch *ofWatch, log *slog.Logger) *flows {
	f := &flows{
		socket:  socket,
		watch:   watch,
		log:     log,
		wanted:  map[Object]Program{},
		changed: map[Object]struct{}{},
		applied: map[Object]Program{},
		failed:  map[Object]error{},
	}
	f.runner = newRunner(f.pass)
	return f
}

// set changes what is wanted without waiting: programs to have, objects to drop. Objects that hand a flow from one to
// the other must be in one call, so that they reach the bridge in one bundle.
func (f *flows) set(programs map[Object]Program, drop []Object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for o, p := range programs {
		f.wanted[o] = p
		f.changed[o] = struct{}{}
	}
	for _, o := range drop {
		delete(f.wanted, o)
		f.changed[o] = struct{}{}
	}
}

// replaceWanted makes programs all that is wanted. From then on the bridge is this writer's alone: what an earlier
// process left there goes.
func (f *flows) replaceWanted(programs map[Object]Program) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for o := range f.wanted {
		f.changed[o] = struct{}{}
	}
	for o := range programs {
		f.changed[o] = struct{}{}
	}
	f.wanted, f.exclusive, f.resync = maps.Clone(programs), true, true
}

// apply waits until the objects are on the bridge as wanted, and with them whatever callers set who did not wait.
func (f *flows) apply(ctx context.Context, objects []Object) error {
	if len(objects) > 0 {
		return f.runner.do(ctx, objects...)
	}
	f.mu.Lock()
	settled := len(f.changed) == 0 && !f.resync
	f.mu.Unlock()
	if settled {
		return nil
	}
	return f.runner.do(ctx, Object{})
}

// restore compares the whole bridge with what is wanted and repairs it.
func (f *flows) restore(ctx context.Context) error {
	f.mu.Lock()
	f.resync = true
	f.mu.Unlock()
	return f.runner.do(ctx, Object{})
}

func (f *flows) pass(ctx context.Context, keys []Object) map[Object]error {
	up, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	epoch, err := f.watch.up(up)
	if err != nil {
		return failAll(keys, err)
	}
	f.mu.Lock()
	all := f.resync || epoch != f.epoch
	if all {
		for o := range f.wanted {
			f.changed[o] = struct{}{}
		}
	}
	objects := slices.AppendSeq(make([]Object, 0, len(f.changed)), maps.Keys(f.changed))
	want := make(map[Object]Program, len(objects))
	for _, o := range objects {
		if p, ok := f.wanted[o]; ok {
			want[o] = p
		}
	}
	exclusive := f.exclusive
	f.changed, f.resync = map[Object]struct{}{}, false
	f.mu.Unlock()

	for _, o := range objects {
		delete(f.failed, o)
	}
	if all {
		f.applied = map[Object]Program{}
	}
	if all && exclusive {
		err = f.replace(ctx, objects, want)
	} else {
		err = f.update(ctx, objects, want)
	}
	if err != nil {
		f.mu.Lock()
		f.resync = true // the outcome is unknown
		f.mu.Unlock()
		return failAll(keys, err)
	}
	f.epoch = epoch
	errs := map[Object]error{}
	for _, o := range keys {
		if err := f.failed[o]; err != nil {
			errs[o] = err
		}
	}
	return errs
}

// update brings objects to the bridge. Rejected ones are in failed; an error leaves the outcome unknown.
func (f *flows) update(ctx context.Context, objects []Object, want map[Object]Program) error {
	errs := bisect(objects, func(objects []Object) error {
		have, err := merge(f.applied, objects)
		if err != nil {
			return err
		}
		next, err := merge(want, objects)
		if err != nil {
			return err
		}
		if err := f.bundle(ctx, Diff(have, next)); err != nil {
			return err
		}
		for _, o := range objects {
			if p, ok := want[o]; ok {
				f.applied[o] = p
			} else {
				delete(f.applied, o)
			}
		}
		return nil
	}, isRejected)
	return f.settle(errs)
}

// settle remembers rejected objects and returns the first error that says nothing about its object.
func (f *flows) settle(errs map[Object]error) error {
	for o, err := range errs {
		if !isRejected(err) {
			return err
		}
		f.failed[o] = fmt.Errorf("program of %+v: %w", o, err)
	}
	return nil
}

// replace makes the bridge hold exactly want, in one bundle and without touching flows that are right.
func (f *flows) replace(ctx context.Context, objects []Object, want map[Object]Program) error {
	have, err := f.dump(ctx)
	if err != nil {
		return err
	}
	next, err := merge(want, objects)
	if err != nil {
		return err
	}
	if err = f.bundle(ctx, Diff(have, next)); isRejected(err) {
		// Find the culprits by adding the objects in parts, then let the rest alone stay.
		if err := f.update(ctx, objects, want); err != nil {
			return err
		}
		if have, err = f.dump(ctx); err != nil {
			return err
		}
		if next, err = merge(f.applied, slices.Collect(maps.Keys(f.applied))); err != nil {
			return err
		}
		return f.bundle(ctx, Diff(have, next))
	}
	if err != nil {
		return err
	}
	f.applied = want
	return nil
}

func merge(programs map[Object]Program, objects []Object) (Program, error) {
	parts := make([]Program, 0, len(objects))
	for _, o := range objects {
		parts = append(parts, programs[o])
	}
	return Merge(parts...)
}

// dump reads everything on the bridge.
func (f *flows) dump(ctx context.Context) (Program, error) {
	var flows, groups []byte
	err := both(
		func() (err error) {
			flows, err = f.ofctl(ctx, nil, "--no-names", "--no-stats", "dump-flows", f.socket)
			return err
		},
		func() (err error) {
			groups, err = f.ofctl(ctx, nil, "--no-names", "dump-groups", f.socket)
			return err
		})
	if err != nil {
		return Program{}, fmt.Errorf("dump bridge: %w", err)
	}
	return ParseDump(flows, groups)
}

func (f *flows) bundle(ctx context.Context, d Delta) error {
	if d.Len() == 0 {
		return nil
	}
	f.bundles.Add(1)
	return step.Do("commit OpenFlow bundle", func() error {
		_, err := f.ofctl(ctx, d.Bundle(), "--no-names", "bundle", f.socket, "-")
		return err
	})
}

func (f *flows) ofctl(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	epoch, _ := f.watch.current()
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	out, err := run.Output(ctx, stdin, "ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...)
	if err == nil {
		return out, nil
	}
	var exit interface{ ExitCode() int }
	if now, _ := f.watch.current(); errors.As(err, &exit) && exit.ExitCode() > 0 && now == epoch && now != 0 {
		return nil, fmt.Errorf("%w: %w", errRejected, err)
	}
	return nil, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}

func isRejected(err error) bool { return errors.Is(err, errRejected) }
