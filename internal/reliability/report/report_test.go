package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

func TestReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report")
	t.Setenv("LIBCNM_REPORT", file)
	report.Add(t, report.Figures{Kills: 2, Walks: 1, Operations: 1, Faults: 1, Inputs: 1, Probes: 1, WorstStall: 190 * time.Millisecond})
	report.Add(t, report.Figures{Kills: 1998, WorstStall: 40 * time.Millisecond})
	text := printed(t, file, "")
	for _, want := range []string{"processes killed at them    2000\n", "worst stall                 190ms\n", "leaks found                 0\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	report.Add(t, report.Figures{Leaks: 1})
	if text := printed(t, file, "report: found what must not be"); !strings.Contains(text, "leaks found                 1\n") {
		t.Error(text)
	}
}

func TestPoorReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report")
	t.Setenv("LIBCNM_REPORT", file)
	report.Add(t, report.Figures{Kills: 1999, Walks: 1, Operations: 1, Faults: 1, Inputs: 1, Probes: 1})
	printed(t, file, "report: too little was tried")
}

func printed(t *testing.T, file, wantErr string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = report.Print(&out, f)
	if text := ""; err != nil {
		if text = err.Error(); text != wantErr {
			t.Errorf("error %q, want %q", text, wantErr)
		}
	} else if wantErr != "" {
		t.Errorf("no error, want %q", wantErr)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPick(t *testing.T) {
	t.Setenv("LIBCNM_FULL", "")
	if report.Pick(1, 2) != 1 {
		t.Error("everything although a sample was asked for")
	}
	t.Setenv("LIBCNM_FULL", "1")
	if report.Pick(1, 2) != 2 {
		t.Error("a sample although everything was asked for")
	}
}
