package crash

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/libcnm/libcnm/internal/step"
)

// point is a step of an operation.
type point struct {
	driver, operation, step string
}

// hits counts the deaths at each side of each step that was seen.
type hits map[point]map[step.Moment]int

// saw notes that the operation has these moments.
func (h hits) saw(driver string, op *operation, seen []moment) {
	for _, m := range seen {
		h.at(driver, op, m, 0)
	}
}

// died notes a death.
func (h hits) died(driver string, op *operation, m moment) { h.at(driver, op, m, 1) }

func (h hits) at(driver string, op *operation, m moment, n int) {
	p := point{driver: driver, operation: op.name, step: m.Step}
	if h[p] == nil {
		h[p] = map[step.Moment]int{step.Before: 0, step.After: 0}
	}
	h[p][m.Side] += n
}

// missed returns the moments of an operation at which nobody has died.
func (h hits) missed(driver string, op *operation) []moment {
	var list []moment
	for p, sides := range h {
		if p.driver != driver || p.operation != op.name {
			continue
		}
		for side, n := range sides {
			if n == 0 {
				list = append(list, moment{Step: p.step, Side: side})
			}
		}
	}
	return list
}

// distinct is how many moments somebody has died at.
func (h hits) distinct() int {
	n := 0
	for _, sides := range h {
		for _, deaths := range sides {
			if deaths > 0 {
				n++
			}
		}
	}
	return n
}

// String is a table.
func (h hits) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	order := func(a, b point) int {
		return cmp.Or(cmp.Compare(a.driver, b.driver), cmp.Compare(a.operation, b.operation), cmp.Compare(a.step, b.step))
	}
	fmt.Fprintln(w, "driver\toperation\tstep\tbefore\tafter")
	for _, p := range slices.SortedFunc(maps.Keys(h), order) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\n", p.driver, p.operation, p.step, h[p][step.Before], h[p][step.After])
	}
	if err := w.Flush(); err != nil {
		return err.Error() // a strings.Builder has none
	}
	return b.String()
}
