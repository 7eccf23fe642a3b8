package main

import (
	"encoding/json"
	"math"
	"net/netip"
	"testing"
)

func TestCompareTakesNeighbours(t *testing.T) {
	// The machine gets slower and slower; the two are always 10 % apart, but for one turn that was interrupted.
	var own, hand []float64
	for i := range 21 {
		speed := 1000 / float64(i+1)
		own, hand = append(own, 0.9*speed), append(hand, speed)
	}
	hand[3] /= 50
	got := compare(own, hand)
	for name, v := range map[string]float64{"median": got.Median, "first quartile": got.Q1, "third": got.Q3, "low": got.Low, "high": got.High} {
		if math.Abs(v-0.9) > 1e-9 {
			t.Errorf("%s %v, want 0.9", name, v)
		}
	}
}

func TestCompareSaysHowSure(t *testing.T) {
	hand, own := make([]float64, 100), make([]float64, 100)
	for i := range own {
		own[i], hand[i] = float64(100-i), 1
	}
	// Of 100, the 40th and the 61st are around the median in 95 of 100 cases: tables of the sign test.
	want := ratios{Pairs: 100, Median: 50.5, Q1: 25, Q3: 76, Low: 40, High: 61}
	if got := compare(own, hand); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := compare(nil, nil); got != (ratios{}) {
		t.Errorf("nothing: got %+v", got)
	}
}

func TestPacketsFillTheMTU(t *testing.T) {
	w := &way{mtu: 1500}
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, m := range measures {
		want4, want6 := smallPayload, smallPayload
		switch {
		case m.full:
			want4, want6 = 1472, 1452
		case m.unit == unitBits:
			want4, want6 = streamChunk, streamChunk
		}
		if got4, got6 := m.payload(w, v4), m.payload(w, v6); got4 != want4 || got6 != want6 {
			t.Errorf("%s: %d and %d bytes, want %d and %d", m.name, got4, got6, want4, want6)
		}
	}
}

func TestJudgeTraffic(t *testing.T) {
	c := func(way string, m measure, low, median, high float64) cell {
		return cell{
			Own:   figure{Way: way, Family: 4, What: m.name, Unit: m.unit},
			Ratio: ratios{Median: median, Low: low, High: high},
		}
	}
	tcp, udp, ping, pingMTU := measures[0], measures[1], measures[3], measures[4]
	r := results{Traffic: &trafficReport{Cells: []cell{
		c("at the limit", tcp, 0.98, 0.98, 1.01), c("at the limit", udp, 0.99, 1, 1.01), c("at the limit", ping, 1, 1.02, 1.02),
		c("beyond", tcp, 1.2, 1.25, 1.3), c("beyond", udp, 0.95, 0.96, 0.97), c("beyond", ping, 1.03, 1.04, 1.05),
		c("unsure", tcp, 0.7, 1, 1.3), c("unsure", udp, 0.98, 0.99, 1), c("unsure", ping, 0.9, 1.01, 1.1), c("unsure", pingMTU, 1.01, 1.03, 1.04),
		c("missed, perhaps", tcp, 0.5, 0.97, 0.99), c("missed, perhaps", udp, 0.4, 0.99, 1.6), c("missed, perhaps", ping, 0.1, 0.15, 0.2),
	}}}
	r.judge()
	want := []target{
		{Name: "at the limit, IPv4, throughput of by hand", Have: "TCP stream 0.980× (0.980..1.010)", Pass: true},
		{Name: "at the limit, IPv4, round trip of by hand", Have: "ping, small 1.020× (1.000..1.020)", Pass: true},
		{Name: "beyond, IPv4, throughput of by hand", Have: "UDP, small 0.960× (0.950..0.970)"},
		{Name: "beyond, IPv4, round trip of by hand", Have: "ping, small 1.040× (1.030..1.050)"},
		{Name: "unsure, IPv4, throughput of by hand", Have: "UDP, small 0.990× (0.980..1.000), 1 of 2 not sure", Pass: true},
		{Name: "unsure, IPv4, round trip of by hand", Have: "ping, MTU 1.030× (1.010..1.040), 2 of 2 not sure"},
		{Name: "missed, perhaps, IPv4, throughput of by hand", Have: "TCP stream 0.970× (0.500..0.990), 2 of 2 not sure"},
		{Name: "missed, perhaps, IPv4, round trip of by hand", Have: "ping, small 0.150× (0.100..0.200)", Pass: true},
	}
	if len(r.Targets) != len(want) {
		t.Fatalf("%d targets, want %d: %+v", len(r.Targets), len(want), r.Targets)
	}
	for i, got := range r.Targets {
		got.Want = ""
		if got != want[i] {
			t.Errorf("got %+v, want %+v", got, want[i])
		}
	}
}

// TestTraffic runs the whole part, with one pair of turns of each kind.
func TestTraffic(t *testing.T) {
	r := measureTraffic(t, config{log: t.Output()}, effort{pairs: 1})
	seen := make(map[string]int)
	for _, c := range r.Cells {
		for _, f := range []figure{c.Own, c.Hand} {
			seen[f.Way]++
			if f.Calm <= 0 || f.Unit == unitTrips && (float64(f.P50) < f.Calm/2 || f.P99 < f.P50) {
				t.Errorf("%s: %+v", f.name(), f)
			}
		}
	}
	for _, o := range r.Others {
		if o.Calm <= 0 {
			t.Errorf("%s: %+v", o.name(), o)
		}
	}
	for _, name := range []string{"bridge", "bridge by hand", "ovs-vxlan, one host", "OVS by hand, one host", "ovs-vxlan, two hosts", "OVS by hand, two hosts"} {
		if got, want := seen[name], 2*len(measures); got != want {
			t.Errorf("%s has %d figures, want %d: both families of everything", name, got, want)
		}
	}
	for _, w := range r.Walks {
		if w.Empty <= 0 || w.New <= 0 || w.Later <= 0 || w.Tables < 1 || w.Flows < 2 {
			t.Errorf("%+v", w)
		}
	}
	if own, hand := r.Walks[0], r.Walks[1]; len(r.Walks) != 4 || own.Tables <= hand.Tables || hand.Tables != 1 {
		t.Errorf("the pipeline has tables, one flow has one: %+v", r.Walks)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}
