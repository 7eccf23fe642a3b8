package crash

import (
	"strings"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/reliability/steps"
	"github.com/libcnm/libcnm/internal/step"
)

// deaths are those of all lanes, by what a step is called in the source.
type deaths struct {
	mu    sync.Mutex // guards the following
	at    map[string]map[step.Moment]int
	tried map[string]bool // operations, with store and driver
}

// newDeaths has the test fail if, when everything has been tried, there is a side of a step in the source at which nobody died.
func newDeaths(t *testing.T) *deaths {
	d := &deaths{at: make(map[string]map[step.Moment]int), tried: make(map[string]bool)}
	t.Cleanup(func() {
		if !report.Full() || t.Failed() {
			return
		}
		if left := d.left(); left > 0 {
			t.Logf("%d operations were not tried: steps at which nobody died are not looked for", left)
			return
		}
		for _, side := range d.spared(t) {
			t.Errorf("nobody died %s", side)
		}
	})
	return d
}

func (d *deaths) add(h hits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, sides := range h {
		for name := range strings.SplitSeq(p.step, ", ") {
			if d.at[name] == nil {
				d.at[name] = make(map[step.Moment]int)
			}
			for side, n := range sides {
				d.at[name][side] += n
			}
		}
	}
}

// exhausted notes that there is no more to try of an operation.
func (d *deaths) exhausted(store, driver string, op *operation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried[store+"/"+driver+"/"+op.name] = true
}

// left is how many operations have not been tried: a tester may have asked for a part.
func (d *deaths) left() int {
	left := 0
	for _, store := range []string{storeLocal, storeEtcd} {
		for _, driver := range driverNames {
			for _, op := range operations {
				if (op.driver == "" || op.driver == driver) && !d.tried[store+"/"+driver+"/"+op.name] {
					left++
				}
			}
		}
	}
	return left
}

// spared returns the sides of steps at which nobody died who should have.
func (d *deaths) spared(t *testing.T) []string {
	t.Helper()
	names, err := steps.InSource("../../..")
	if err != nil {
		t.Fatal(err)
	}
	names = append(names, "change IPv4 rules", "change IPv6 rules") // put together where they are named
	var list []string
	for _, name := range names {
		for _, side := range []step.Moment{step.Before, step.After} {
			if steps.Apart[name] == "" && d.at[name][side] == 0 {
				list = append(list, string(side)+" "+name)
			}
		}
	}
	return list
}
