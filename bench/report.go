package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// results is everything that a run has shown.
type results struct {
	Machine   machine     `json:"machine"`
	Reps      int         `json:"repetitions"`
	Lifecycle []lifecycle `json:"lifecycle,omitempty"`
	Growth    []curve     `json:"growth,omitempty"`
	Restart   *restart    `json:"restart,omitempty"`
	Overlay   *overlay    `json:"overlay,omitempty"`
	Targets   []target    `json:"targets"`
}

// save writes results.json and latency.svg into dir.
func (r *results) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if len(r.Growth) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "latency.svg"), plotGrowth(r.Growth), 0o644)
}

// print writes the tables.
func (r *results) print(to io.Writer) error {
	m := r.Machine
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight)
	p := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	p("%s: %d × %s, %.0f GiB, Linux %s, %s, data on %s, load before %s, %d repetitions\n",
		m.Date.Format(time.DateOnly), m.CPUs, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.Go, m.FileSystem, m.LoadBefore, r.Reps)
	r.printLifecycle(p)
	r.printGrowth(p)
	r.printRestart(p)
	r.printOverlay(p)
	p("\ntarget\twant\thave\t\t\n")
	for _, t := range r.Targets {
		verdict := "PASS"
		if !t.Pass {
			verdict = "FAIL"
		}
		p("%s\t%s\t%s\t%s\t\n", t.Name, t.Want, t.Have, verdict)
	}
	return w.Flush()
}

func (r *results) printLifecycle(p func(string, ...any)) {
	if len(r.Lifecycle) == 0 {
		return
	}
	p("\nbridge, ms\tup p50\tp99\tdown p50\tp99\tup/s\t16 parallel: up p50\tp99\tup/s\tdown p50\tdown/s\tforks\tpeak MiB\t\n")
	for _, l := range r.Lifecycle {
		p("%s\t%s\t%s\t%s\t%s\t%.1f\t%s\t%s\t%.1f\t%s\t%.1f\t%.3g\t%.0f\t\n", l.Kind, ms(l.Up.P50), ms(l.Up.P99), ms(l.Down.P50), ms(l.Down.P99),
			l.Up.Rate, ms(l.ParallelUp.P50), ms(l.ParallelUp.P99), l.ParallelUp.Rate, ms(l.ParallelDown.P50), l.ParallelDown.Rate,
			l.Forks, float64(l.PeakMemory)/(1<<20))
	}
	floor, ok := r.row(kindFloor)
	if !ok {
		return
	}
	p("\nin floors\tup\tdown\tup/s, 16 parallel\t\n")
	for _, l := range r.Lifecycle {
		p("%s\t%.2f\t%.2f\t%.2f\t\n", l.Kind, ratio(l.Up.P50, floor.Up.P50), ratio(l.Down.P50, floor.Down.P50), l.ParallelUp.Rate/floor.ParallelUp.Rate)
	}
}

func (r *results) printGrowth(p func(string, ...any)) {
	if len(r.Growth) == 0 {
		return
	}
	p("\nup p50, ms, with")
	marks := []int{0, 100, 200, 400, 600, 800, 980}
	for _, live := range marks {
		p("\t%d live", live)
	}
	p("\tlast/first\t\n")
	for _, c := range r.Growth {
		p("%s", c.Kind)
		for _, live := range marks {
			if i := live / growthStep; i < len(c.Points) {
				p("\t%s", ms(c.Points[i].Up))
			} else {
				p("\t-")
			}
		}
		p("\t%.2f\t\n", c.flatness())
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }
