package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// results is everything that a run has shown.
type results struct {
	Machine   machine        `json:"machine"`
	Reps      int            `json:"repetitions"`
	Took      time.Duration  `json:"took_ns"`
	Lifecycle []lifecycle    `json:"lifecycle,omitempty"`
	Growth    []curve        `json:"growth,omitempty"`
	Restart   *restart       `json:"restart,omitempty"`
	Overlay   *overlay       `json:"overlay,omitempty"`
	Traffic   *trafficReport `json:"traffic,omitempty"`
	Scale     []scale        `json:"scale,omitempty"`
	Targets   []target       `json:"targets"`
}

// report judges, prints and saves, and returns an error that says how many targets were missed.
func (r *results) report(to io.Writer, dir string) error {
	r.judge()
	return errors.Join(r.print(to), r.save(dir), r.missed())
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
	r.printTraffic(p)
	r.printScale(p)
	p("\ntarget\twant\thave\t\t\n")
	for _, t := range r.Targets {
		verdict := "PASS"
		if !t.Pass {
			verdict = "FAIL"
		}
		p("%s\t%s\t%s\t%s\t\n", t.Name, t.Want, t.Have, verdict)
	}
	p("\ntook %s\n", r.Took.Round(time.Second))
	return w.Flush()
}
