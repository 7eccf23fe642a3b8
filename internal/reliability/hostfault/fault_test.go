package hostfault

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// promised is how long a fault may be seen.
	promised = 5 * time.Second
	// patience is how long a test waits for what it then finds to be too late.
	patience  = 30 * time.Second
	lookEvery = 200 * time.Millisecond
)

// fault is something that happens to a host.
type fault struct {
	name string
	do   func(t *testing.T)
	// end, for a fault that lasts, is called by the test when it has seen that lasting; the promise begins then.
	end  func(t *testing.T)
	hurt []route // traffic that it stops
	calm []route // traffic of which no packet may be lost
	// lasting is how long the streams may stand still beyond what is promised, because the fault lasts.
	lasting time.Duration
}

// try injects a fault and demands what was promised. It returns the longest silence of the traffic that was hurt.
func (w *world) try(t *testing.T, f fault) (silence time.Duration) {
	t.Helper()
	t.Run(f.name, func(t *testing.T) {
		works(t, f.hurt...)
		works(t, f.calm...)
		hurt, calm := startAll(t, f.hurt), startAll(t, f.calm)
		_, logs := w.logged(t, nil)
		begin, pace := time.Now(), startPace(t)
		defer func() {
			if t.Failed() {
				text, _ := w.logged(t, logs)
				t.Logf("the fault began at %s; logged since:\n%s", begin.Format(time.RFC3339Nano), text)
			}
		}()
		f.do(t)
		end := begin
		if f.end != nil {
			f.end(t)
			end = time.Now()
		}
		took, back := w.repaired(t, end, hurt)
		figures := report.Figures{Faults: 1, WorstRepair: took}
		undisturbed(t, calm, &figures)
		for _, p := range hurt {
			cost := p.stop()
			figures.Probes += cost.sent
			silence = max(silence, cost.silence)
		}
		slow := pace.slowness(t)
		figures.WorstStall = w.unbroken(t, pace.allowed(t, promised)+f.lasting)
		w.audit(t, &figures)
		t.Logf("MEASURED %s: traffic back after %v, repaired after %v, silence %v, stream's stall %v, machine's slowness %.1f", f.name,
			back.Round(time.Millisecond), took.Round(time.Millisecond), silence.Round(time.Millisecond),
			figures.WorstStall.Round(time.Millisecond), slow)
		report.Add(t, figures)
		if took > pace.allowed(t, promised) {
			t.Errorf("repaired after %v, promised are %v, on a machine %.1f times slower than it should be", took, promised, slow)
		}
	})
	return silence
}

func startAll(t *testing.T, routes []route) []*pings {
	t.Helper()
	all := make([]*pings, len(routes))
	for i, r := range routes {
		all[i] = startPings(t, r)
	}
	return all
}

// undisturbed demands that bystanders lose nothing. From host to host they may, but not be silent for long: a switch in user
// space loses packets to tunnels whenever a link of its host changes, as most faults and their repairs make it do.
func undisturbed(t *testing.T, calm []*pings, figures *report.Figures) {
	t.Helper()
	for _, p := range calm {
		before := p.received()
		if err := testutil.Wait(t.Context(), patience, func() error { return p.since(before, 5) }); err != nil {
			t.Errorf("bystander: %v", err)
		}
		cost := p.stop()
		figures.Probes += cost.sent
		if p.tunnel {
			if cost.silence > promised || cost.err != nil {
				t.Errorf("bystander %s: longest silence %v, %v", p.name, cost.silence, cost.err)
			}
			continue
		}
		figures.Lost += cost.lost
		if cost.lost > 0 || cost.err != nil {
			t.Errorf("bystander %s lost %d of %d packets, longest silence %v, %v", p.name, cost.lost, cost.sent, cost.silence, cost.err)
		}
	}
}

// repaired waits until the traffic is back and no controller finds a difference, and returns how long both took.
func (w *world) repaired(t *testing.T, begin time.Time, hurt []*pings) (all, traffic time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	before := make([][]int, len(hurt))
	for i, p := range hurt {
		before[i] = p.received()
	}
	for {
		err := func() error {
			for i, p := range hurt {
				if err := p.since(before[i], 3); err != nil {
					return err
				}
			}
			if traffic == 0 {
				traffic = time.Since(begin)
			}
			return w.drift(t)
		}()
		if err == nil {
			return time.Since(begin), traffic
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("not repaired after %v: %v", time.Since(begin), err)
		}
	}
}

// unbroken demands that the streams between bystanders live and, since the last look, never stood still for longer.
func (w *world) unbroken(t *testing.T, most time.Duration) (worst time.Duration) {
	t.Helper()
	for _, s := range w.streams {
		stall, err := s.Settle(t.Context(), patience)
		worst = max(worst, stall)
		if err != nil || stall > most {
			t.Errorf("stream between bystanders: stall %v, want at most %v; %v", stall, most, err)
		}
	}
	return worst
}

// leastProbes is how often each guard must have tried, and probeWait how long that may take: they make some 200 a second.
var leastProbes = report.Pick(500, 10_000)

const probeWait = 2 * time.Minute

// sealed demands that no packet ever came from one network into another, and adds up how often it was tried.
func (w *world) sealed(t *testing.T) {
	t.Helper()
	var sum report.Figures
	for _, g := range w.guards {
		testutil.Eventually(t, probeWait, func() error {
			tried, _ := g.crossed()
			for _, p := range g.pingers { // one for each family
				if s := p.Stats(); tried < leastProbes || s.Sent-s.Unsent < leastProbes/4 {
					return fmt.Errorf("%s: only %d probes, of which one family has %d", g.name, tried, s.Sent-s.Unsent)
				}
			}
			return nil
		})
		tried, through := g.crossed()
		sum.Probes, sum.Crossed = sum.Probes+tried, sum.Crossed+through
		if through > 0 {
			t.Errorf("%s: %d of %d probes came through; first frames: %s", g.name, through, tried, first(g.capture))
		}
	}
	t.Logf("MEASURED denied: %d probes, %d came through", sum.Probes, sum.Crossed)
	report.Add(t, sum)
}

func first(c *testutil.Capture) string {
	frames := c.Frames()
	return fmt.Sprintf("%+v", frames[:min(3, len(frames))])
}
