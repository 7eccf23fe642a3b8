package crash

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

var (
	seed  = flag.Uint64("seed", 0, "of the sample; 0: another each time")
	share = flag.Int("deaths", 1, "deaths of each kind of operation in the sample")
)

// rare is how many more runs wait for a moment that not every run of an operation has. One that is in none of them is of a
// check that came in between.
const rare = 20

// TestCrash kills a process at every step of every operation, or at a few, and lets another take over.
func TestCrash(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", *seed)
	all := newDeaths(t)
	for i, kind := range []string{storeLocal, storeEtcd} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(*seed, uint64(i)))
			start := time.Now()
			l := newLane(t, kind)
			t.Logf("-seed %d; ready after %v", *seed, time.Since(start).Round(time.Millisecond))
			for _, driver := range driverNames {
				deaths := sample(driver, random)
				for _, op := range operations {
					if op.driver != "" && op.driver != driver || !report.Full() && deaths[op.name] == 0 {
						continue
					}
					t.Run(driver+"/"+op.name, func(t *testing.T) {
						if report.Full() {
							l.exhaust(t, &op, driver)
							all.exhausted(kind, driver, &op)
						} else {
							l.explore(t, &op, driver, deaths[op.name], random)
						}
					})
				}
			}
			l.finish(t, start)
			all.add(l.hits)
		})
	}
}

// finish reports what the lane has found.
func (l *lane) finish(t *testing.T, start time.Time) {
	l.bystanders.stop(t, &l.figures)
	l.figures.Steps = l.hits.distinct()
	took := time.Since(start)
	t.Logf("%+v in %v, %.1f deaths/s\n%v", l.figures, took.Round(time.Second), float64(l.figures.Kills)/took.Seconds(), l.hits)
	report.Add(t, l.figures)
}

// sample says how often each operation is to die: those that differ only by what is after a comma share their deaths.
func sample(driver string, random *rand.Rand) map[string]int {
	kinds := make(map[string][]string)
	for _, op := range operations {
		if op.driver == "" || op.driver == driver {
			kind, _, _ := strings.Cut(op.name, ",")
			kinds[kind] = append(kinds[kind], op.name)
		}
	}
	deaths := make(map[string]int)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) { // in the order of the seed's numbers
		for range *share {
			deaths[kinds[kind][random.IntN(len(kinds[kind]))]]++
		}
	}
	return deaths
}

// explore kills the operation at some of its moments.
func (l *lane) explore(t *testing.T, op *operation, driver string, deaths int, random *rand.Rand) {
	for range deaths {
		// How many moments it has only one that lives can tell.
		if end := l.one(t, op, driver, target{Index: 1 + random.IntN(8<<random.IntN(5))}); !end.died {
			l.one(t, op, driver, target{Index: 1 + random.IntN(len(end.seen))})
		}
	}
}

// exhaust kills the operation at every moment it has.
func (l *lane) exhaust(t *testing.T, op *operation, driver string) {
	longest := l.record(t, op, driver)
	// One run may have more moments than another, of goroutines that race.
	for i := 1; ; i++ {
		end := l.one(t, op, driver, target{Index: i})
		longest = max(longest, len(end.seen))
		if !end.died && i > longest {
			break
		}
	}
	for _, m := range l.hits.missed(driver, op) {
		for range rare {
			if l.one(t, op, driver, target{Like: &m}).died {
				break
			}
		}
	}
	for _, m := range l.hits.missed(driver, op) {
		t.Logf("%v came in none of %d more runs: it belongs to what happened at the same time", m, rare)
	}
}

// one is a case of its own in what the test prints.
func (l *lane) one(t *testing.T, op *operation, driver string, aim target) (end ending) {
	t.Helper()
	name := fmt.Sprint(aim.Index)
	if aim.Like != nil {
		name = aim.Like.String()
	}
	done := t.Run(name, func(t *testing.T) {
		end = l.try(t, op, driver, aim)
		l.note(op, driver, end)
	})
	if !done {
		t.Fatalf("-seed %d", *seed)
	}
	return end
}

func (l *lane) note(op *operation, driver string, end ending) {
	if end.died {
		l.hits.died(driver, op, end.at)
	}
	l.hits.saw(driver, op, end.seen)
}

// record returns how many moments the operation has in a run without a death.
func (l *lane) record(t *testing.T, op *operation, driver string) int {
	t.Helper()
	key := point{driver: driver, operation: op.name}
	if l.moments[key] == 0 {
		end := l.try(t, op, driver, target{})
		l.note(op, driver, end)
		l.moments[key] = len(end.seen)
	}
	return l.moments[key]
}
