package drivertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/drivers"
)

// env is what one law works with.
type env struct {
	testing.TB
	suite *suite
	host  Host
	ctx   context.Context
	rnd   *rand.Rand
	d     drivers.Driver
	world world

	opened    []drivers.Driver
	sandboxes []Sandbox
}

// open makes one more driver on the host; tidy closes it.
func (e *env) open() drivers.Driver {
	e.Helper()
	d, err := e.host.Open()
	if err != nil {
		e.Fatalf("open the driver: %v", err)
	}
	e.opened = append(e.opened, d)
	return d
}

// tidy leaves the host clean for the next law, whatever happened in this one.
func (e *env) tidy() {
	e.Helper()
	d, err := e.host.Open()
	if err != nil {
		e.Errorf("open a driver to clean up: %v", err)
		return
	}
	e.opened = append(e.opened, d)
	if err := d.Sync(e.ctx, nil); err != nil {
		e.Errorf("Sync(nothing) to clean up: %v", err)
	}
	if dump := e.host.Dump(); dump != "" {
		e.Errorf("Sync(nothing) by a new driver left on the host:\n%s", dump)
	}
	for _, d := range e.opened {
		if err := d.Close(); err != nil && !isClosed(err) {
			e.Errorf("Close: %v", err)
		}
	}
}

// sandbox returns the i-th sandbox of this law.
func (e *env) sandbox(i int) Sandbox {
	e.Helper()
	for len(e.sandboxes) <= i {
		e.sandboxes = append(e.sandboxes, e.host.NewSandbox())
	}
	return e.sandboxes[i]
}

// must fails the law at once when err is not nil; the driver call that returned it is named by format.
func (e *env) must(err error, format string, args ...any) {
	e.Helper()
	if err != nil {
		e.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// expect compares the host with a dump taken earlier.
func (e *env) expect(want, format string, args ...any) {
	e.Helper()
	if diff := lineDiff(want, e.host.Dump()); diff != "" {
		e.Fatalf("%s: the host differs (-want +have):\n%s", fmt.Sprintf(format, args...), diff)
	}
}

// lineDiff names the lines that only one of two dumps has; empty when the dumps are equal.
func lineDiff(want, have string) string {
	if want == have {
		return ""
	}
	var out strings.Builder
	only := func(sign, a, b string) {
		for line := range strings.Lines(a) {
			if !strings.Contains("\n"+b+"\n", "\n"+strings.TrimSuffix(line, "\n")+"\n") {
				fmt.Fprintf(&out, "%s %s\n", sign, strings.TrimSuffix(line, "\n"))
			}
		}
	}
	only("-", want, have)
	only("+", have, want)
	if out.Len() == 0 { // the same lines in another order or number
		return fmt.Sprintf("- %q\n+ %q\n", want, have)
	}
	return out.String()
}

// enough is how much of something to try: all, or part of it where the host is slow.
func (e *env) enough(all, part int) int {
	if e.host.Slow {
		return part
	}
	return all
}

// eventually repeats ok until it holds; it is for what the kernel finishes on its own time.
func (e *env) eventually(ok func() bool) bool {
	e.Helper()
	deadline := time.NewTimer(e.suite.settle)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			return ok()
		case <-tick.C:
		}
	}
	return true
}

// peers returns the driver's peer methods. Only drivers with cluster scope have any.
func (e *env) peers(d drivers.Driver) (drivers.PeerApplier, bool) {
	if d.Info().Scope != drivers.ScopeCluster {
		return nil, false
	}
	return drivers.As[drivers.PeerApplier](d)
}

// build brings a network from nothing to s by single calls, in the order of the controller.
func (e *env) build(d drivers.Driver, s drivers.NetworkState) {
	e.Helper()
	e.must(d.ApplyNetwork(e.ctx, s.Network), "ApplyNetwork(%s)", s.Network.Name)
	if p, ok := e.peers(d); ok {
		u := drivers.PeerUpdate{Full: true, Set: s.Peers, Members: s.Members}
		e.must(p.ApplyPeers(e.ctx, s.Network.ID, u), "ApplyPeers(%s, full)", s.Network.Name)
	}
	for _, ep := range s.Endpoints {
		e.apply(d, ep)
	}
}

// apply attaches one endpoint.
func (e *env) apply(d drivers.Driver, ep drivers.Endpoint) drivers.Attachment {
	e.Helper()
	a, err := d.ApplyEndpoint(e.ctx, ep)
	e.must(err, "ApplyEndpoint(%s as %s)", ep.ID, ep.Interface)
	return a
}

// sync makes the host equal to want.
func (e *env) sync(d drivers.Driver, want []drivers.NetworkState) {
	e.Helper()
	e.must(d.Sync(e.ctx, want), "Sync")
}

// clean removes everything and checks that nothing is left.
func (e *env) clean() {
	e.Helper()
	e.sync(e.d, nil)
	e.expect("", "Sync(nothing)")
}
