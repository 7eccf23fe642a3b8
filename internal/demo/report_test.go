package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		name    string
		do      func(r *report)
		failure error
		status  int
		want    []string
	}{
		{"all well", func(r *report) { r.expect(true, "it holds") }, nil, 0, []string{"ok  it holds", "everything is as expected"}},
		{"a difference", func(r *report) { r.expect(false, "3 pings lost") }, errors.New("demo: failed"), 1,
			[]string{"differs  3 pings lost", "not as expected:\n  3 pings lost\n"}},
		{"a difference that the rig did not hear of", func(r *report) { r.expect(false, "3 pings lost") }, nil, 1, []string{"not as expected"}},
		{"many differences", func(r *report) {
			for i := range mostDifferences + 7 {
				r.expect(false, "difference %d.", i)
			}
		}, nil, 1, []string{"  difference 19.\n  and 7 more\n"}},
		{"a call failed", func(r *report) { r.ended = errors.New("host2: join: no") }, errors.New("demo: failed"), 1,
			[]string{"could not go on after", "host2: join: no"}},
		{"the rig failed", func(*report) {}, errors.New("demo: failed"), 1, []string{"failed after", "demo: failed"}},
		{"too slow", func(r *report) { r.expect(false, "3 pings lost") }, context.DeadlineExceeded, 1,
			[]string{"3 pings lost", "failed after", "deadline exceeded"}},
		{"interrupted", func(r *report) { r.ended = errors.New("host2: join: canceled") }, fmt.Errorf("demo: %w", context.Canceled), 130,
			[]string{"interrupted after"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out, false)
			tc.do(r)
			if status := r.conclude(tc.failure); status != tc.status {
				t.Errorf("exit status %d, want %d", status, tc.status)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in:\n%s", want, out.String())
				}
			}
		})
	}
}

// brokenWriter is a full disk or a closed pipe.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestUnheardVerdict(t *testing.T) {
	r := newReport(brokenWriter{}, false)
	r.ok("nobody reads this")
	if status := r.conclude(nil); status == 0 {
		t.Error("exit status 0 for a demonstration that could not say anything")
	}
}

func TestTerminal(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if terminal(null) || terminal(file) {
		t.Error("/dev/null or a file is taken for a terminal")
	}
}

func TestLeftBehind(t *testing.T) {
	before := []string{"link lo", "link cnm-old", "mount /run"}
	now := []string{"link lo", "link cnm-old", "mount /run", "link eth1", "link cnmv12345", "namespace /run/netns/cnm7"}
	if got := fmt.Sprint(leftBehind(before, now)); got != "[link cnmv12345 namespace /run/netns/cnm7]" {
		t.Errorf("left behind: %s", got)
	}
}

func TestProcessesWith(t *testing.T) {
	home := "HOME=" + os.Getenv("HOME")
	if found := processesWith(home); len(found) == 0 {
		t.Errorf("no process has %s, and this one does", home)
	}
	if found := processesWith("CNM_DEMO=nobody has this"); len(found) > 0 {
		t.Errorf("found %q", found)
	}
}
