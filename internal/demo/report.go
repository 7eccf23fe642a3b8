package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// style colours text, or leaves it alone.
type style struct{ colour bool }

// terminal says whether f shows colours: it is a terminal, and the user has not asked for none.
func terminal(f *os.File) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	// /dev/null is a character device too.
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	return err == nil && (strings.HasPrefix(name, "/dev/pts/") || strings.HasPrefix(name, "/dev/tty") || name == "/dev/console")
}

func (s style) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string { return s.paint("1", text) }
func (s style) dim(text string) string  { return s.paint("2", text) }
func (s style) good(text string) string { return s.paint("32", text) }
func (s style) bad(text string) string  { return s.paint("1;37;41", text) }

// report prints what the demonstration sees and keeps what was not as expected. It is for one goroutine.
type report struct {
	style
	w      io.Writer
	start  time.Time
	step   time.Time
	differ []string
	ended  error // what kept the demonstration from going on, if it was found here
	err    error // the first of writing
}

func newReport(w io.Writer, colour bool) *report {
	now := time.Now()
	return &report{style: style{colour}, w: w, start: now, step: now}
}

func (r *report) print(text string) {
	if _, err := io.WriteString(r.w, text); err != nil && r.err == nil {
		r.err = err
	}
}

// title begins a step.
func (r *report) title(text string) {
	r.step = time.Now()
	r.print("\n" + r.bold(text) + "\n")
}

// done ends a step.
func (r *report) done() {
	r.print(r.dim(fmt.Sprintf("  %.1f s", time.Since(r.step).Seconds())) + "\n")
}

// ok tells something that was seen and is as it should be.
func (r *report) ok(format string, args ...any) {
	r.print("  " + r.good("ok") + "  " + fmt.Sprintf(format, args...) + "\n")
}

// expect tells something that was seen, and remembers it if it is not as it should be.
func (r *report) expect(holds bool, format string, args ...any) {
	if holds {
		r.ok(format, args...)
		return
	}
	text := fmt.Sprintf(format, args...)
	r.differ = append(r.differ, text)
	r.print("  " + r.bad("differs") + "  " + text + "\n")
}

// interrupted is the exit status of a program that SIGINT ended.
const interrupted = 130

// mostDifferences bounds what the end repeats: one fault in the wrong place changes half the matrix.
const mostDifferences = 20

// conclude prints the verdict and returns the exit status; failure is what the rig's Run returned.
func (r *report) conclude(failure error) int {
	elapsed := time.Since(r.start).Seconds()
	if failure == nil && r.ended == nil && len(r.differ) == 0 && r.err == nil {
		r.print("\n" + r.good(fmt.Sprintf("everything is as expected, %.1f s", elapsed)) + "\n")
		return 0
	}
	if len(r.differ) > 0 {
		r.print("\n" + r.bad("not as expected:") + "\n")
		for i, text := range r.differ {
			if i == mostDifferences {
				r.print(fmt.Sprintf("  and %d more\n", len(r.differ)-i))
				break
			}
			r.print("  " + text + "\n")
		}
	}
	switch {
	case errors.Is(failure, context.Canceled):
		r.print("\n" + r.bad(fmt.Sprintf("interrupted after %.1f s", elapsed)) + "\n")
		return interrupted
	case r.ended != nil:
		r.print("\n" + r.bad(fmt.Sprintf("could not go on after %.1f s:", elapsed)) + " " + r.ended.Error() + "\n")
	case failure != nil && (len(r.differ) == 0 || errors.Is(failure, context.DeadlineExceeded)):
		r.print("\n" + r.bad(fmt.Sprintf("failed after %.1f s:", elapsed)) + " " + failure.Error() + ", see above\n")
	}
	return 1
}
