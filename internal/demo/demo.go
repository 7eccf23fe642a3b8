package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// limit ends a demonstration that hangs.
	limit = 5 * time.Minute
	// callTimeout is for one call of a controller, and settle for a change to be seen everywhere.
	callTimeout = 30 * time.Second
	settle      = 30 * time.Second
)

// demo is one run. Its methods are for the goroutine that Run calls, except where they say otherwise.
type demo struct {
	*report
	*world
	t   testutil.TB
	rig *testutil.Rig

	places     map[*box]*testutil.NS
	responders map[*box]*responder
}

// Main is the whole program: it returns the exit status.
func Main() int {
	testutil.Enter(testutil.NeedEtcd(), testutil.Agent(nodeagent.Handlers()), testutil.Watch(watchMachine))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	r := newReport(os.Stdout, terminal(os.Stdout))
	err := testutil.Run(ctx, "demo", os.Stderr, func(t testutil.TB) {
		d := &demo{report: r, world: newWorld(), t: t, places: map[*box]*testutil.NS{}, responders: map[*box]*responder{}}
		d.run()
	})
	return r.conclude(err)
}

func (d *demo) run() {
	for _, step := range []struct {
		title string
		show  func()
	}{
		{"Three hosts with an Open vSwitch and a controller process each, etcd on three members", d.build},
		{"Who reaches whom", d.showMatrix},
		{"One TCP transfer per driver", d.showRates},
		{"A controller process is killed and started again", d.showKill},
		{"A container moves to another host with its addresses", d.showMove},
		{"The hosts' firewalls are flushed", d.showFlush},
		{"Everything is deleted", d.remove},
	} {
		d.title(step.title)
		step.show()
		d.done()
	}
	if len(d.differ) > 0 {
		d.t.Errorf("%d differences from what was expected", len(d.differ)) // makes the rig show its logs
	}
}

// must ends the demonstration if something did not work that is not itself shown.
func (d *demo) must(err error) {
	d.t.Helper()
	if err == nil {
		return
	}
	d.ended = err
	if errors.Is(d.t.Context().Err(), context.Canceled) {
		runtime.Goexit() // interrupted: that is no failure whose logs anybody wants
	}
	d.t.Fatalf("%v", err)
}

// call runs a method of a host's controller process; any goroutine may use it. Hosts are counted from 1.
func (d *demo) call(host int, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(d.t.Context(), callTimeout)
	defer cancel()
	return d.rig.Hosts[host-1].Call(ctx, method, params, result)
}

// onHosts does something on every host at the same time.
func (d *demo) onHosts(do func(host int) error) error {
	var all errgroup.Group
	for i := range d.rig.Hosts {
		all.Go(func() error { return do(i + 1) })
	}
	return all.Wait()
}

// forBoxes does something for every sandbox at the same time.
func (d *demo) forBoxes(do func(b *box) error) error {
	var all errgroup.Group
	for _, b := range d.boxes {
		all.Go(func() error { return do(b) })
	}
	return all.Wait()
}

// healthy waits until every controller finds its host as it should be.
func (d *demo) healthy() error {
	return d.onHosts(func(host int) error {
		return testutil.Wait(d.t.Context(), settle, func() error {
			var drift []string
			if err := d.call(host, "check", nil, &drift); err != nil {
				return err
			}
			if len(drift) > 0 {
				return fmt.Errorf("host%d differs from its desired state: %q", host, drift)
			}
			return nil
		})
	})
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func since(start time.Time) string { return fmt.Sprintf("%.2f s", time.Since(start).Seconds()) }
