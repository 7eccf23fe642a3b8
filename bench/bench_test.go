package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	tests := []struct {
		name    string
		samples []time.Duration
		q       float64
		want    time.Duration
	}{
		{"none", nil, 0.5, 0},
		{"one", []time.Duration{7}, 0.99, 7},
		{"lowest", hundred, 0, 1},
		{"median", hundred, 0.5, 50},
		{"p99", hundred, 0.99, 99},
		{"highest", hundred, 1, 100},
	}
	for _, tt := range tests {
		if got := quantile(tt.samples, tt.q); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestSummaryKeepsOneBadBlockOutOfTheMedian(t *testing.T) {
	var s series
	for _, each := range []time.Duration{time.Millisecond, time.Second, 2 * time.Millisecond} {
		s.add(timing{Each: []time.Duration{each, each}, Total: 2 * each})
	}
	want := summary{P50: 2 * time.Millisecond, P99: time.Second, Rate: 500}
	if got := s.summary(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSetupSurvivesTheCommandLine(t *testing.T) {
	want := setup{Kind: kindPlain, DataDir: "/a b", CNIDir: "/cni", Node: "host1", Underlay: netip.MustParseAddr("172.31.1.1")}
	var c config
	if err := c.parse(want.args()); err != nil {
		t.Fatal(err)
	}
	if got := c.setup; got.Kind != want.Kind || got.DataDir != want.DataDir || got.CNIDir != want.CNIDir ||
		got.Node != want.Node || got.Underlay != want.Underlay {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	points := []point{{0, time.Millisecond}, {20, 30 * time.Millisecond}}
	for name, curves := range map[string][]curve{"two": {{kindLibcnm, 1, points}, {kindFloor, 2, points}}, "one point": {{kindCNI, 1, points[:1]}}, "none": nil} {
		d := xml.NewDecoder(bytes.NewReader(plotGrowth(curves)))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestMiddleCurve(t *testing.T) {
	ups := func(ms ...time.Duration) curve {
		c := curve{Kind: kindFloor}
		for i, up := range ms {
			c.Points = append(c.Points, point{growthStep * i, up * time.Millisecond})
		}
		return c
	}
	got, want := middleCurve([]curve{ups(1, 9), ups(3, 1), ups(2, 2)}), ups(2, 2)
	want.Times = 3
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// childEnv makes the test binary a program that runs a shell this many times, which forks once each time.
const childEnv = "BENCH_CHILD_RUNS"

func TestMain(m *testing.M) {
	runs, ok := os.LookupEnv(childEnv)
	if !ok {
		testutil.Main(m, testutil.NeedEtcd(), testutil.Agent(new(worker).handlers()))
	}
	n, err := strconv.Atoi(runs)
	for range n {
		if err == nil {
			_, err = run.Output(context.Background(), nil, "sh", "-c", "(true); true")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestTraceCountsProcessesOfProcesses(t *testing.T) {
	var counts []int
	for _, runs := range []string{"1", "4"} {
		t.Setenv(childEnv, runs)
		n, err := trace(nil)
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, n)
	}
	if got := counts[1] - counts[0]; got != 6 {
		t.Errorf("three more runs of a shell that forks are %d processes (%v), want 6", got, counts)
	}
	t.Setenv(childEnv, "none")
	if _, err := trace(nil); err == nil {
		t.Error("a program that fails is not noticed")
	}
}
