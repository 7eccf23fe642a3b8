package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// Turns are short and neighbours, so that what else the machine does meets both of a pair.
	turnTime = 30 * time.Millisecond

	// calm is the share of a turn's exchanges that nothing came between. Where others use the CPUs too, the median of a ping
	// through Open vSwitch differs by half from turn to turn, between two equal networks; this does by a hundredth.
	calm = 0.1

	// lostInTurn is how many exchanges of a turn may be lost: the namespaces of a machine share the kernel's queues of
	// packets, so that others may fill them. More is no accident.
	lostInTurn = 3

	// enough is how narrow the interval around a ratio is, which 95 of 100 runs would meet, when no more turns are spent on
	// it: a quarter of what the targets allow on both sides.
	enough = 0.01

	// otherTurns is after how many pairs what is measured for information has a turn.
	otherTurns = 5

	smallPayload = 64 // bytes

	ipv4Header, ipv6Header = 20, 40
	udpHeader              = 8 // that of ICMP echo is as long
)

// measure is one way to use a network.
type measure struct {
	name string
	unit string
	full bool    // packets of the network's MTU
	each float64 // how much of the unit is one exchange; 0: the unit is time
	once bool    // a probe is for one turn; else for all of them, so that it is known to whatever is between
	open func(ctx context.Context, w *way, addr netip.Addr, payload int) (probe, error)
}

// Units of figures.
const (
	unitBits    = "bit/s"
	unitPackets = "packets/s"
	unitTrips   = "ns" // lower is better
)

var measures = []measure{
	{name: "TCP stream", unit: unitBits, each: 8 * streamChunk, once: true, open: openStream},
	{name: "UDP, small", unit: unitPackets, each: burstSize, open: openBurst},
	{name: "UDP, MTU", unit: unitPackets, each: burstSize, full: true, open: openBurst},
	{name: "ping, small", unit: unitTrips, open: openEcho},
	{name: "ping, MTU", unit: unitTrips, full: true, open: openEcho},
}

// payload is how many bytes a packet carries; of a stream, how many are sent at once.
func (m measure) payload(w *way, addr netip.Addr) int {
	switch {
	case m.unit == unitBits:
		return streamChunk
	case !m.full:
		return smallPayload
	case addr.Is4():
		return w.mtu - ipv4Header - udpHeader
	}
	return w.mtu - ipv6Header - udpHeader
}

// trafficReport is what networks cost in throughput and latency.
type trafficReport struct {
	Turn   time.Duration `json:"turn_ns"`
	Cells  []cell        `json:"against_by_hand"`
	Others []figure      `json:"others"`
	Walks  []walk        `json:"cost_of_tables"`
}

// figure is what one measure has shown on one way: a rate per second, or nanoseconds.
type figure struct {
	Way    string        `json:"way"`
	Family int           `json:"ip"`
	What   string        `json:"what"`
	Unit   string        `json:"unit"`
	Calm   float64       `json:"calm"`                    // median of what turns have shown while nothing came between
	P50    time.Duration `json:"p50_ns,omitempty"`        // of all round trips
	P99    time.Duration `json:"p99_ns,omitempty"`        // likewise
	Bytes  int           `json:"payload_bytes,omitempty"` // of each packet
	Lost   int           `json:"lost"`                    // exchanges of which a packet never arrived
}

// cell is libcnm against the same built by hand.
type cell struct {
	Own   figure `json:"libcnm"`
	Hand  figure `json:"by_hand"`
	Ratio ratios `json:"ratio"` // libcnm's figures by those of the turns beside them
}

// record collects the turns of a measure on a way.
type record struct {
	figure
	measure measure
	open    func() (probe, error)
	probe   probe // that of all turns
	values  []float64
	trips   []time.Duration
}

func newRecord(t testutil.TB, m measure, w *way, addr netip.Addr) *record {
	t.Helper()
	payload := m.payload(w, addr)
	r := &record{
		measure: m, open: func() (probe, error) { return m.open(t.Context(), w, addr, payload) },
		figure: figure{Way: w.name, Family: familyOf(addr), What: m.name, Unit: m.unit, Bytes: payload},
	}
	if !m.once {
		var done func()
		r.probe, done = r.opened(t)
		t.Cleanup(done)
	}
	return r
}

// opened returns a probe and what closes it.
func (r *record) opened(t testutil.TB) (p probe, done func()) {
	t.Helper()
	p, err := r.open()
	if err != nil {
		t.Fatalf("%s: %v", r.name(), err)
	}
	return p, func() {
		if err := p.close(); err != nil {
			t.Errorf("%s: %v", r.name(), err)
		}
	}
}

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return 4
	}
	return 6
}

// take has a turn.
func (r *record) take(t testutil.TB) {
	t.Helper()
	p := r.probe
	if r.measure.once {
		var done func()
		p, done = r.opened(t)
		defer done()
	}
	var took []time.Duration
	var failed error
	lost := 0
	err := onFirstCPU(func() {
		for start := time.Now(); failed == nil && (time.Since(start) < turnTime || len(took) == 0); {
			d, err := p.once()
			switch {
			case errors.Is(err, errLost) && lost < lostInTurn:
				lost++
			case err != nil:
				failed = err
			default:
				took = append(took, d)
			}
		}
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatalf("%s: %v", r.name(), err)
	}
	value := float64(quantile(took, calm))
	if r.measure.each > 0 {
		value = r.measure.each * float64(time.Second) / value
	} else {
		r.trips = append(r.trips, took...)
	}
	r.values = append(r.values, value)
	r.Lost += lost
}

func (r *record) done() figure {
	f := r.figure
	f.Calm, f.P50, f.P99 = middle(r.values), median(r.trips), quantile(r.trips, 0.99)
	return f
}

// duel is a measure on two ways that should cost the same.
type duel struct{ own, hand *record }

func (d duel) ratios() ratios { return compare(d.own.values, d.hand.values) }

// done reports whether more turns would tell little. Those that are on one side of the limit leave their time to the others.
func (d duel) done() bool {
	r := d.ratios()
	width := r.High - r.Low
	return width <= enough || width <= 4*enough && cell{Own: d.own.figure, Ratio: r}.sure()
}

// take has a turn of both; who is first alternates.
func (d duel) take(t testutil.TB, round int) {
	t.Helper()
	order := []*record{d.own, d.hand}
	if round%2 == 1 {
		slices.Reverse(order)
	}
	for _, r := range order {
		r.take(t)
	}
}

// effort is how many pairs of turns each measure has at least, and for how long those have more that are not done.
type effort struct {
	pairs int
	time  time.Duration
}

// usualEffort keeps the whole part within 150 seconds with the usual number of repetitions.
func usualEffort(cfg config) effort {
	return effort{pairs: 10, time: time.Duration(cfg.reps) * 15 * time.Second}
}

func measureTraffic(t testutil.TB, cfg config, e effort) *trafficReport {
	t.Helper()
	w := newWays(t, cfg)
	cfg.progress("traffic: networks are there")
	var duels []duel
	for _, c := range w.compared {
		each(c.own, func(m measure, family int) {
			duels = append(duels, duel{newRecord(t, m, c.own, c.own.addrs[family]), newRecord(t, m, c.hand, c.hand.addrs[family])})
		})
	}
	var others []*record
	for _, o := range w.others {
		each(o, func(m measure, family int) { others = append(others, newRecord(t, m, o, o.addrs[family])) })
	}
	contest(t, cfg, e, duels, others)
	r := &trafficReport{Turn: turnTime}
	for _, d := range duels {
		r.Cells = append(r.Cells, cell{d.own.done(), d.hand.done(), d.ratios()})
	}
	for _, o := range others {
		r.Others = append(r.Others, o.done())
	}
	r.Walks = measureWalks(t, w)
	return r
}

// contest lets all have their turns.
func contest(t testutil.TB, cfg config, e effort, duels []duel, others []*record) {
	t.Helper()
	start := time.Now()
	for round, open := 0, duels; len(open) > 0; round++ {
		for _, d := range open {
			d.take(t, round)
		}
		if round%otherTurns == 0 {
			for _, o := range others {
				o.take(t)
			}
			cfg.progress("traffic: pair %d, %d of %d figures are open", round+1, len(open), len(duels))
		}
		if round+1 < e.pairs {
			continue
		}
		if time.Since(start) > e.time {
			break
		}
		open = slices.DeleteFunc(slices.Clone(open), duel.done)
	}
}

// each calls f for every measure of every family that a way has, by its place among the addresses.
func each(w *way, f func(m measure, family int)) {
	for family := range w.addrs {
		for _, m := range measures {
			f(m, family)
		}
	}
}

// name is how a cell is called in tables and targets.
func (f figure) name() string { return fmt.Sprintf("%s, IPv%d, %s", f.Way, f.Family, f.What) }
