package input

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/step"
)

// maxErrorText has room for names, cut to 80 characters, and for a path, which is told in full and maybe twice.
const maxErrorText = 1200 + 2*4096

// TestEveryEntry offers every string to every entry: what is not allowed is refused before anything is changed, in words
// that a log can carry.
func TestEveryEntry(t *testing.T) {
	w := newWorld(t)
	before := w.objects(t)
	var steps atomic.Int64
	step.Observe(func(string, step.Moment) { steps.Add(1) })
	t.Cleanup(func() { step.Observe(nil) })

	list := corpus(t)
	table := entries()
	refused := make(map[string]int)
	for _, s := range list {
		for _, e := range table {
			was := steps.Load()
			err := e.offer(t.Context(), w, s)
			if e.fits(s) {
				if !errors.Is(err, e.accepted) {
					t.Errorf("%s(%.200q): %v, want it accepted: %v", e.name, s, err, e.accepted)
				}
				continue
			}
			refused[e.name]++
			classes := e.refused
			if classes == nil {
				classes = []error{libcnm.ErrInvalid}
			}
			if !slices.ContainsFunc(classes, func(class error) bool { return errors.Is(err, class) }) {
				t.Errorf("%s(%.200q): %v, want one of %v", e.name, s, err, classes)
				continue
			}
			if steps.Load() != was {
				t.Errorf("%s(%.200q) was refused after something had been changed", e.name, s)
			}
			if !printable(err.Error()) {
				t.Errorf("%s(%.200q): the text may damage a log: %.2000q", e.name, s, err)
			}
		}
		if t.Failed() {
			break
		}
	}
	for _, e := range table {
		if refused[e.name] == 0 && e.name != "Command" {
			t.Errorf("%s refused nothing", e.name)
		}
	}
	if diff := cmp.Diff(before, w.objects(t)); diff != "" {
		t.Errorf("the calls changed something (-before +after):\n%s", diff)
	}
	strange := w.strangers(t)
	for _, s := range strange {
		t.Errorf("libcnm would not have written %s", s)
	}
	report.Add(t, report.Figures{Inputs: len(list) * len(table), Leaks: len(strange)})
}

// printable reports whether text can be a line of a log.
func printable(text string) bool {
	return len(text) <= maxErrorText && utf8.ValidString(text) &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
