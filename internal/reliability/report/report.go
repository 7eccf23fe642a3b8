// Package report collects what the reliability tests tried and found, over all their processes, into one table.
//
//	report.Add(t, report.Figures{Kills: 1, Leaks: len(found)})
//
// Tests run a sample by default and everything when Full is true, which is what `make test-crash` asks for.
package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"
)

// The environment by which `make test-crash` speaks to the tests.
const (
	envFull = "LIBCNM_FULL"   // not empty: everything, not a sample
	envFile = "LIBCNM_REPORT" // absolute path of the file that figures are appended to
)

// Full reports whether the tests should try everything.
func Full() bool { return os.Getenv(envFull) != "" }

// Pick returns full if the tests should try everything, else sample.
func Pick[T any](sample, full T) T {
	if Full() {
		return full
	}
	return sample
}

// Figures are what a test tried and found. Counts add up; the worst times are the largest of all tests.
type Figures struct {
	Steps      int `json:"steps,omitempty"`      // distinct moments (operation, step, side) a process was killed at
	Kills      int `json:"kills,omitempty"`      // processes killed at such a moment
	Walks      int `json:"walks,omitempty"`      // random walks
	Operations int `json:"operations,omitempty"` // calls whose outcome was checked against a model
	Faults     int `json:"faults,omitempty"`     // faults injected other than these kills
	Inputs     int `json:"inputs,omitempty"`     // hostile strings and records offered
	Probes     int `json:"probes,omitempty"`     // packets sent to see whether they arrive, or that they do not

	Leaks      int `json:"leaks,omitempty"`      // objects without an owner, or owners without their objects
	Duplicates int `json:"duplicates,omitempty"` // names, addresses or VNIs with two owners, and histories that are not linearizable
	Lost       int `json:"lost,omitempty"`       // packets between endpoints that no fault concerned, never delivered
	Excused    int `json:"excused,omitempty"`    // packets lost like these, while the machine had no CPU for a host without libcnm either
	Crossed    int `json:"crossed,omitempty"`    // packets that reached another network

	WorstStall  time.Duration `json:"worst_stall,omitempty"`  // longest silence between endpoints a fault did not end
	WorstRepair time.Duration `json:"worst_repair,omitempty"` // longest time from a fault to a host without drift
}

func (f *Figures) add(g Figures) {
	f.Steps += g.Steps
	f.Kills += g.Kills
	f.Walks += g.Walks
	f.Operations += g.Operations
	f.Faults += g.Faults
	f.Inputs += g.Inputs
	f.Probes += g.Probes
	f.Leaks += g.Leaks
	f.Duplicates += g.Duplicates
	f.Lost += g.Lost
	f.Excused += g.Excused
	f.Crossed += g.Crossed
	f.WorstStall = max(f.WorstStall, g.WorstStall)
	f.WorstRepair = max(f.WorstRepair, g.WorstRepair)
}

// entry is one line of the file.
type entry struct {
	Test string `json:"test"`
	Figures
}

// TB is what Add needs of a test.
type TB interface {
	Helper()
	Name() string
	Fatalf(format string, args ...any)
}

// Add appends what a test tried and found to the report, if one is being made. Safe for concurrent use by several
// processes: a line is one write.
func Add(t TB, f Figures) {
	t.Helper()
	name := os.Getenv(envFile)
	if name == "" {
		return
	}
	line, err := json.Marshal(entry{Test: t.Name(), Figures: f})
	if err != nil {
		t.Fatalf("report: %v", err)
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("report: %v", err)
	}
	_, err = file.Write(append(line, '\n'))
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatalf("report: %v", err)
	}
}

// leastKills is how many deaths a whole run has at least: it has three times as many.
const leastKills = 2000

// Print sums up the figures read from r and prints them to w. It fails if something was found that must not be, or if
// something was hardly tried.
func Print(w io.Writer, r io.Reader) error {
	var sum Figures
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("report: %w", err)
		}
		sum.add(e.Figures)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		name  string
		value any
	}{
		{"crash points tried", sum.Steps}, {"processes killed at them", sum.Kills}, {"random walks", sum.Walks},
		{"operations checked", sum.Operations}, {"other faults injected", sum.Faults}, {"hostile inputs", sum.Inputs},
		{"probes sent", sum.Probes}, {"leaks found", sum.Leaks}, {"duplicates found", sum.Duplicates},
		{"packets of bystanders lost", sum.Lost}, {"lost by the machine", sum.Excused}, {"packets in another network", sum.Crossed},
		{"worst stall", sum.WorstStall.Round(time.Millisecond)}, {"worst repair", sum.WorstRepair.Round(time.Millisecond)},
	} {
		if _, err := fmt.Fprintf(table, "%s\t%v\n", row.name, row.value); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	switch {
	case sum.Leaks+sum.Duplicates+sum.Lost+sum.Crossed > 0:
		return errors.New("report: found what must not be")
	case sum.Kills < leastKills || sum.Walks == 0 || sum.Operations == 0 || sum.Faults == 0 || sum.Inputs == 0 || sum.Probes == 0:
		return errors.New("report: too little was tried")
	}
	return nil
}
