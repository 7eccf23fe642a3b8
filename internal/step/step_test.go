package step_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/libcnm/libcnm/internal/step"
)

func TestDo(t *testing.T) {
	failed := errors.New("failed")
	var seen []string
	change := func() error {
		seen = append(seen, "change")
		return failed
	}
	step.Observe(func(name string, at step.Moment) { seen = append(seen, string(at)+" "+name) })
	if err := step.Do("add route", change); !errors.Is(err, failed) {
		t.Errorf("%v, want the error of the change", err)
	}
	step.Observe(nil)
	if err := step.Do("add link", change); !errors.Is(err, failed) {
		t.Errorf("%v, want the error of the change", err)
	}
	want := []string{"before add route", "change", "after add route", "change"}
	if !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
}

func TestDoNamed(t *testing.T) {
	failed := errors.New("failed")
	var seen []string
	do := func() {
		t.Helper()
		err := step.DoNamed(
			func() string { seen = append(seen, "name"); return "add route" },
			func() error { seen = append(seen, "change"); return failed })
		if !errors.Is(err, failed) {
			t.Errorf("%v, want the error of the change", err)
		}
	}
	do()
	step.Observe(func(name string, at step.Moment) { seen = append(seen, string(at)+" "+name) })
	do()
	step.Observe(nil)
	want := []string{"change", "name", "before add route", "change", "after add route"}
	if !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
}

func BenchmarkDo(b *testing.B) {
	change := func() error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := step.Do("add route", change); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDoNamed(b *testing.B) {
	parts := []string{"add", "route"}
	var result int
	b.ReportAllocs()
	for b.Loop() {
		name := func() string { return parts[0] + parts[1] }
		change := func() error { result++; return nil }
		if err := step.DoNamed(name, change); err != nil {
			b.Fatal(err)
		}
	}
}
