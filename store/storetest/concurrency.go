package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/libcnm/libcnm/store"
)

var concurrencyLaws = []law{
	{
		name:  "no increment is lost",
		why:   "read, change and guarded write is how every record is updated",
		check: incrementsAreKept,
	},
	{
		name:  "one of eight claims wins",
		why:   "eight controllers that create one name get one network",
		check: oneClaimWins,
	},
	{
		name:  "a list is one state",
		why:   "half of a commit is a state that never was",
		check: listIsOneState,
	},
	{
		name:  "a watch keeps up with many writers",
		why:   "a watcher that follows must end up with what a list returns",
		check: watchFollowsWriters,
	},
}

// together runs f n times at once and waits.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func incrementsAreKept(k *checker) {
	const writers, rounds, counters = 8, 10, 3
	for c := range counters {
		k.put(fmt.Sprintf("counter/%d", c), "0")
	}
	var conflicts atomic.Int64
	together(writers, func(w int) {
		for i := range rounds {
			key := fmt.Sprintf("counter/%d", (w+i)%counters)
			for {
				r, err := k.Get(k.ctx, key)
				if err != nil {
					k.Errorf("get %s: %v", key, err)
					return
				}
				n, err := strconv.Atoi(string(r.Value))
				if err != nil {
					k.Errorf("counter %s: %v", key, err)
					return
				}
				_, err = k.Commit(k.ctx, []store.Guard{store.Unchanged(r)}, store.Put(key, strconv.AppendInt(nil, int64(n+1), 10)))
				if err == nil {
					break
				}
				if !errors.Is(err, store.ErrConflict) {
					k.Errorf("increment %s: %v", key, err)
					return
				}
				conflicts.Add(1)
			}
		}
	})
	sum := 0
	recs, _ := k.list("counter/")
	for _, r := range recs {
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			k.Fatal(err)
		}
		sum += n
	}
	if sum != writers*rounds {
		k.Errorf("%d of %d increments were kept (%d conflicts)", sum, writers*rounds, conflicts.Load())
	}
}

func oneClaimWins(k *checker) {
	for round := range 10 {
		key := fmt.Sprintf("claim/%d", round)
		var winners atomic.Int64
		together(8, func(i int) {
			_, err := k.Commit(k.ctx, []store.Guard{store.Absent(key)}, store.Put(key, fmt.Appendf(nil, "%d", i)),
				store.Put(fmt.Sprintf("owner/%d/%d", round, i), nil))
			switch {
			case err == nil:
				winners.Add(1)
			case !errors.Is(err, store.ErrConflict):
				k.Errorf("claim %d: %v", i, err)
			}
		})
		owner := fmt.Sprintf("owner/%d/%s", round, k.get(key).Value)
		if got := k.keys(fmt.Sprintf("owner/%d/", round)); winners.Load() != 1 || len(got) != 1 || got[0] != owner {
			k.Errorf("%d winners; %s is the claim and %v what else was committed", winners.Load(), owner, got)
		}
	}
}

func listIsOneState(k *checker) {
	var stop atomic.Bool
	writers := make(chan struct{})
	go func() {
		defer close(writers)
		together(2, func(w int) {
			for i := 0; !stop.Load(); i++ {
				value := fmt.Appendf(nil, "%d-%d", w, i)
				if _, err := k.Commit(k.ctx, nil, store.Put("pair/a", value), store.Put("pair/b", value)); err != nil {
					k.Errorf("commit: %v", err)
					return
				}
			}
		})
	}()
	defer func() { stop.Store(true); <-writers }()
	k.eventually("the pair exists", func() bool { return len(k.keys("pair/")) > 0 })
	for range 100 {
		recs, rev := k.list("pair/")
		if len(recs) != 2 || string(recs[0].Value) != string(recs[1].Value) || recs[0].Rev != recs[1].Rev || recs[0].Rev > rev {
			k.Fatalf("list at revision %d: %s", rev, dump(recs))
		}
	}
}

func watchFollowsWriters(k *checker) {
	from := k.rev()
	const writers, rounds = 4, 50
	early := k.watch("", from)
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(writers, func(w int) {
			for i := range rounds {
				ops := []store.Op{store.Put(fmt.Sprintf("%d/%d", w, i%7), fmt.Appendf(nil, "%d", i)), store.Delete(fmt.Sprintf("%d/%d", w, (i+3)%7))}
				if _, err := k.Commit(k.ctx, nil, ops...); err != nil {
					k.Errorf("commit: %v", err)
					return
				}
			}
		})
	}()
	follow := func(w *watcher, until store.Rev) string {
		m := model{recs: map[string]store.Record{}}
		seen := map[string]bool{}
		for m.rev < until {
			e := w.next()
			if id := fmt.Sprint(e.Key, " at ", e.Rev); seen[id] || e.Rev < m.rev {
				k.Fatalf("watch delivers %s after revision %d; again: %t", id, m.rev, seen[id])
			} else {
				seen[id] = true
			}
			m.see(e)
		}
		return m.String()
	}
	<-done
	last := k.put("last", "")
	want := k.dump()
	for name, w := range map[string]*watcher{"from before": early, "from the past": k.watch("", from)} {
		if got := follow(w, last); got != want {
			k.Errorf("a watch %s leads to\n%s\nlist is\n%s", name, got, want)
		}
	}
}
