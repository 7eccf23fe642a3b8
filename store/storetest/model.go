package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/store"
)

// randomCommits does random commits to the store and to a map and compares after each; at the end a watch from the
// beginning must tell the same story.
func randomCommits(k *checker) {
	seed := rand.Uint64()
	k.Cleanup(func() {
		if k.Failed() {
			k.Logf("seed %d", seed)
		}
	})
	rnd := rand.New(rand.NewPCG(seed, 0))
	m := model{recs: map[string]store.Record{}, rev: k.rev()}
	from, revs := m.rev, []store.Rev{m.rev}
	for step := range 400 {
		guards, ops := randomCommit(rnd, m, revs)
		if store.CheckCommit(guards, ops) != nil {
			continue
		}
		holds := m.holds(guards)
		rev, err := k.Commit(k.ctx, guards, ops...)
		switch {
		case holds && err != nil, !holds && !errors.Is(err, store.ErrConflict):
			k.Fatalf("step %d: commit %s: got %v; guards hold: %t\n%s", step, describe(guards, ops), err, holds, m)
		case holds && m.changes(ops):
			if rev <= m.rev {
				k.Fatalf("step %d: commit %s: revision %d after %d", step, describe(guards, ops), rev, m.rev)
			}
			m.apply(rev, ops)
			revs = append(revs, rev)
		case holds && rev != m.rev:
			k.Fatalf("step %d: commit %s changes nothing but has revision %d after %d", step, describe(guards, ops), rev, m.rev)
		}
		if got := k.dump(); got != m.String() {
			k.Fatalf("step %d: commit %s: store has\n%s\nwant\n%s", step, describe(guards, ops), got, m)
		}
	}
	replay := model{recs: map[string]store.Record{}}
	w := k.watch("", from)
	for replay.rev < m.rev || replay.String() != m.String() {
		replay.see(w.next())
	}
}

// model is a store as a map.
type model struct {
	recs map[string]store.Record
	rev  store.Rev
}

func (m model) under(prefix string) []store.Record {
	var recs []store.Record
	for key, r := range m.recs {
		if strings.HasPrefix(key, prefix) {
			recs = append(recs, r)
		}
	}
	slices.SortFunc(recs, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return recs
}

func (m model) String() string { return dump(m.under("")) }

func (m model) holds(guards []store.Guard) bool {
	for _, g := range guards {
		r, ok := m.recs[g.Key]
		switch {
		case g.Prefix:
			ok = len(m.under(g.Key)) == 0
		case !g.Any:
			ok = r.Rev == g.Rev
		}
		if !ok {
			return false
		}
	}
	return true
}

func (m model) changes(ops []store.Op) bool {
	return slices.ContainsFunc(ops, func(op store.Op) bool {
		_, there := m.recs[op.Key]
		return !op.Delete || there || op.Prefix && len(m.under(op.Key)) > 0
	})
}

func (m *model) apply(rev store.Rev, ops []store.Op) {
	m.rev = rev
	for _, op := range ops {
		switch {
		case !op.Delete:
			m.recs[op.Key] = store.Record{Key: op.Key, Value: op.Value, Rev: rev}
		case op.Prefix:
			for _, r := range m.under(op.Key) {
				delete(m.recs, r.Key)
			}
		default:
			delete(m.recs, op.Key)
		}
	}
}

func (m *model) see(e store.Event) {
	m.rev = e.Rev
	if e.Deleted {
		delete(m.recs, e.Key)
	} else {
		m.recs[e.Key] = e.Record
	}
}

// randomCommit makes up to three guards and ops over a handful of keys, so that they often meet.
func randomCommit(rnd *rand.Rand, m model, revs []store.Rev) (guards []store.Guard, ops []store.Op) {
	key := func() string { return fmt.Sprintf("%c/%d", 'a'+rnd.IntN(3), rnd.IntN(4)) }
	prefix := func() string { return fmt.Sprintf("%c/", 'a'+rnd.IntN(3)) }
	for range rnd.IntN(3) {
		k := key()
		switch rnd.IntN(6) {
		case 0:
			guards = append(guards, store.Absent(k))
		case 1:
			guards = append(guards, store.Exists(k))
		case 2:
			guards = append(guards, store.AbsentPrefix(prefix()))
		case 3:
			guards = append(guards, store.Guard{Key: k, Rev: revs[rnd.IntN(len(revs))]})
		default:
			guards = append(guards, store.Unchanged(store.Record{Key: k, Rev: m.recs[k].Rev}))
		}
	}
	for range rnd.IntN(4) {
		switch rnd.IntN(8) {
		case 0:
			ops = append(ops, store.DeletePrefix(prefix()))
		case 1, 2:
			ops = append(ops, store.Delete(key()))
		default:
			ops = append(ops, store.Put(key(), fmt.Appendf(nil, "%d", rnd.Uint32())))
		}
	}
	return guards, ops
}
