package hostfault

import (
	"testing"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

// TestControllerRestarts kills the controller of one host again and again. Nobody must notice.
func TestControllerRestarts(t *testing.T) {
	t.Parallel()
	w := newOverlayWorld(t)
	var all []*pings
	for _, r := range append(w.overlay(), w.den(), w.out(w.red1)) {
		all = append(all, startPings(t, r))
	}
	pace := startPace(t)
	figures := report.Figures{Faults: report.Pick(5, 50)}
	for range figures.Faults {
		w.host.Restart(t)
		w.open(t, w.host)
	}
	for _, p := range all {
		cost := p.stop()
		figures.Probes, figures.Lost = figures.Probes+cost.sent, figures.Lost+cost.lost
		if cost.lost > 0 || cost.err != nil {
			t.Errorf("%s lost %d of %d packets, longest silence %v, %v", p.name, cost.lost, cost.sent, cost.silence, cost.err)
		}
	}
	figures.WorstStall = w.unbroken(t, pace.allowed(t, promised))
	if report.Full() && figures.Probes < 1500 {
		t.Errorf("only %d pings were sent", figures.Probes)
	}
	must(t, w.drift(t))
	w.audit(t, &figures)
	t.Logf("MEASURED %d restarts: %d of %d pings lost, stream's stall %v", figures.Faults, figures.Lost, figures.Probes, figures.WorstStall)
	report.Add(t, figures)
	w.sealed(t)
}
