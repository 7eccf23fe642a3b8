package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// growing is a curve whose last endpoints cost so many times what the first do.
func growing(last time.Duration) curve {
	c := curve{Kind: kindLibcnm}
	for i := range 10 {
		up := 10 * time.Millisecond
		if i >= 5 {
			up *= last
		}
		c.Points = append(c.Points, point{Live: growthStep * i, Up: up})
	}
	return c
}

// good are results that meet every target.
func good() *results {
	row := func(kind string, up, down time.Duration, rate float64) lifecycle {
		return lifecycle{Kind: kind, Up: summary{P50: up}, Down: summary{P50: down}, ParallelUp: summary{Rate: rate}, Forks: new(0)}
	}
	return &results{
		Lifecycle: []lifecycle{row(kindFloor, 2, 20, 500), row(kindLibcnm, 4, 19, 160), row(kindLibnetwork, 40, 80, 17)},
		Growth:    []curve{growing(1)},
		Restart:   &restart{Endpoints: 1000, New: time.Second, Sent: 9000},
		Overlay: &overlay{
			Up: summary{P50: 20 * time.Millisecond}, ParallelUp: summary{Rate: 150}, FirstPacket: summary{P99: 2 * time.Millisecond},
			Replies: 500, Peers: peers{Count: 10_000, Took: time.Second / 2, Driver: 40 << 20, Switch: 50 << 20},
		},
	}
}

func TestJudge(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*results)
		missed []string
		judged int
	}{
		"good": {func(*results) {}, nil, 15},
		"slow down": {
			func(r *results) { r.Lifecycle[1].Down.P50 = 21 },
			[]string{"down, sequential, of the floor's time"}, 15,
		},
		"slow up": {
			func(r *results) { r.Lifecycle[1].Up.P50, r.Lifecycle[1].ParallelUp.Rate = 6, 100 },
			[]string{
				"up, sequential, faster than libnetwork", "up, 16 parallel, faster than libnetwork", "up, sequential, of the floor's time",
				"up, 16 parallel",
			}, 15,
		},
		"a fork":          {func(r *results) { r.Lifecycle[1].Forks = new(1) }, []string{"processes started per endpoint"}, 15},
		"no forks known":  {func(r *results) { r.Lifecycle[1].Forks = nil }, nil, 14},
		"growth":          {func(r *results) { r.Growth[0] = growing(2) }, []string{"endpoint 200 against the first"}, 15},
		"short growth":    {func(r *results) { r.Growth[0].Points = r.Growth[0].Points[:9] }, nil, 14},
		"slow New":        {func(r *results) { r.Restart.New = 3 * time.Second }, []string{"New with 1000 live endpoints"}, 15},
		"a lost ping":     {func(r *results) { r.Restart.Lost = 1 }, []string{"pings lost meanwhile, of 9000 to all of them"}, 15},
		"no restart":      {func(r *results) { r.Restart = nil }, nil, 13},
		"slow overlay up": {func(r *results) { r.Overlay.Up.P50 = time.Second }, []string{"ovs-vxlan up, sequential"}, 15},
		"slow in parallel": {
			func(r *results) { r.Overlay.ParallelUp.Rate = 99 },
			[]string{"ovs-vxlan up, 16 parallel"}, 15,
		},
		"late first packet": {func(r *results) { r.Overlay.FirstPacket.P99 = time.Second }, []string{"first packet to a new peer, p99"}, 15},
		"a lost reply":      {func(r *results) { r.Overlay.Lost = 1 }, []string{"replies to brand-new peers lost, of 500"}, 15},
		"slow peers":        {func(r *results) { r.Overlay.Peers.Took = 2 * time.Second }, []string{"programming 10000 IPv4 peers"}, 15},
		"large peers": {
			func(r *results) { r.Overlay.Peers.Driver = 51 << 20 },
			[]string{"memory for 10000 IPv4 peers, driver and switch"}, 15,
		},
		"no overlay": {func(r *results) { r.Overlay = nil }, nil, 9},
	} {
		r := good()
		tt.change(r)
		r.judge()
		var missed []string
		for _, target := range r.Targets {
			if !target.Pass {
				missed = append(missed, target.Name)
			}
		}
		if !slices.Equal(missed, tt.missed) || len(r.Targets) != tt.judged {
			t.Errorf("%s: of %d targets missed %q, want of %d %q", name, len(r.Targets), missed, tt.judged, tt.missed)
		}
	}
}

func TestReportEndsWithMissedTargets(t *testing.T) {
	var out bytes.Buffer
	r := good()
	if err := r.report(&out, t.TempDir()); err != nil || strings.Contains(out.String(), "FAIL") {
		t.Errorf("all targets are met: %v\n%s", err, out.String())
	}
	out.Reset()
	dir := t.TempDir()
	r.Restart.Lost, r.Overlay.Lost, r.Lifecycle[2].Forks, r.Took = 1, 2, nil, 7*time.Minute+12*time.Second
	if err := r.report(&out, dir); err == nil || err.Error() != "2 of 15 targets missed" {
		t.Errorf("two targets are missed: %v", err)
	}
	if n := strings.Count(out.String(), "FAIL"); n != 2 || !strings.HasSuffix(out.String(), "\ntook 7m12s\n") {
		t.Errorf("two targets were missed after 7m12s, %d FAIL:\n%s", n, out.String())
	}
	if !regexp.MustCompile(`(?m)^ *libnetwork .* - +0$`).Match(out.Bytes()) {
		t.Errorf("forks of libnetwork were not counted:\n%s", out.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var saved results
	if err := json.Unmarshal(text, &saved); err != nil || saved.Took != r.Took || len(saved.Targets) != 15 || saved.Lifecycle[2].Forks != nil {
		t.Errorf("saved %+v, %v", saved, err)
	}
}

func TestForksOfOne(t *testing.T) {
	for _, tt := range []struct {
		many  int
		forks int
		ok    bool
	}{{100, 0, true}, {100 + 3*(manyLives-fewLives), 3, true}, {101, 0, false}, {100 - (manyLives - fewLives), -1, false}, {99, 0, false}} {
		if forks, ok := forksOfOne(100, tt.many); ok != tt.ok || ok && forks != tt.forks {
			t.Errorf("from 100 to %d: got %d, %v, want %d, %v", tt.many, forks, ok, tt.forks, tt.ok)
		}
	}
}

func TestTmpfsIsNoDisk(t *testing.T) {
	for dir, want := range map[string]string{"/run": "/run is on tmpfs", "/proc": ""} {
		var log bytes.Buffer
		err := testutil.Run(t.Context(), "inner", &log, func(t testutil.TB) { needDisk(t, dir) })
		if (err != nil) != (want != "") || !strings.Contains(log.String(), want) {
			t.Errorf("%s: %v, said %q", dir, err, log.String())
		}
	}
}
