package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// model is a Pool done the slow and obvious way: every question is answered by looking at every address in turn.
type model struct {
	cfg    Config
	within netip.Prefix
	claims map[netip.Addr]Claim
	held   map[netip.Addr]Candidate
	cursor netip.Addr // the last candidate never used before; zero: start at the first address
	seen   int64
}

func newModel(cfg Config) *model {
	m := &model{cfg: cfg, within: cfg.Subnet, claims: map[netip.Addr]Claim{}, held: map[netip.Addr]Candidate{}}
	if cfg.Range.IsValid() {
		m.within = cfg.Range
	}
	return m
}

func (m *model) reserved(a netip.Addr) bool {
	for _, aux := range m.cfg.Auxiliary {
		if a == aux {
			return true
		}
	}
	return a == m.cfg.Gateway || reservedName(m.cfg.Subnet, a) != ""
}

// order returns the addresses that may be allocated, beginning after the cursor.
func (m *model) order() []netip.Addr {
	var all []netip.Addr
	for a := m.within.Addr(); m.within.Contains(a); a = a.Next() {
		all = append(all, a)
	}
	start := slices.Index(all, m.cursor) + 1
	all = slices.Concat(all[start:], all[:start])
	return slices.DeleteFunc(all, m.reserved)
}

// candidates returns what Candidate may propose, best first.
func (m *model) candidates() []Candidate {
	var unused []Candidate
	var freed []Claim
	for _, a := range m.order() {
		if _, held := m.held[a]; held {
			continue
		}
		switch c := m.claims[a]; c.State {
		case Absent:
			unused = append(unused, Candidate{Addr: a})
		case Freed:
			freed = append(freed, c)
		case Owned:
		}
	}
	if len(unused) > 0 {
		return unused
	}
	slices.SortFunc(freed, func(a, b Claim) int {
		if a.Rev != b.Rev {
			return int(a.Rev - b.Rev)
		}
		return a.Addr.Compare(b.Addr)
	})
	var reuse []Candidate
	for _, c := range freed {
		reuse = append(reuse, Candidate{Addr: c.Addr, Replaces: c.Rev})
	}
	return reuse
}

func (m *model) usage() Usage {
	u := Usage{}
	for _, a := range m.order() {
		_, held := m.held[a]
		u.Size++
		switch state := m.claims[a].State; {
		case state == Owned:
			u.Used++
		case held:
			u.Held++
		case state == Freed:
			u.Freed++
		}
	}
	return u
}

func (m *model) apply(c Claim) {
	if c.Rev <= m.claims[c.Addr].Rev {
		return
	}
	delete(m.held, c.Addr)
	if m.claims[c.Addr] = c; c.State == Absent {
		delete(m.claims, c.Addr)
	}
}

func (m *model) reset(claims []Claim, rev int64) {
	m.seen = max(m.seen, rev)
	for a, have := range m.claims {
		if have.Rev <= rev && !slices.ContainsFunc(claims, func(c Claim) bool { return c.Addr == a }) {
			delete(m.claims, a)
			delete(m.held, a)
		}
	}
	for _, c := range claims {
		m.apply(c)
	}
}

// walker does what it is told to a pool and to its model, and compares them.
type walker struct {
	t     testing.TB
	pool  *Pool
	model *model
	rev   int64
	log   []string // what to do by hand to get here
}

func newWalker(t testing.TB, cfg Config) *walker {
	pool, err := NewPool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &walker{t: t, pool: pool, model: newModel(cfg)}
}

func (w *walker) failf(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.log {
		w.t.Log(line)
	}
	w.t.Fatalf(format, args...)
}

func (w *walker) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// step does one thing: op says what, arg to which address.
func (w *walker) step(op, arg byte) {
	w.t.Helper()
	addr := addrAt(w.pool.subnet.Addr(), uint64(arg)%span(w.pool.subnet))
	state := State(arg % 3)
	switch op % 8 {
	case 0, 1:
		w.candidate(int(op/8) % 3)
	case 2: // the oldest candidate held is committed
		if c, ok := w.anyHeld(arg); ok {
			w.rev++
			w.learn(Claim{c.Addr, Owned, w.rev})
		}
	case 3:
		if c, ok := w.anyHeld(arg); ok {
			w.release(c)
		}
	case 4: // an event
		w.rev++
		w.observe(Claim{addr, state, w.rev})
	case 5: // news about the past
		if old := w.rev - int64(op/8)%4; old > 0 {
			w.learn(Claim{addr, state, old})
		}
	case 6:
		w.static(addr)
	case 7:
		w.reset(arg)
	}
	if got, want := w.pool.Usage(), w.model.usage(); got != want {
		w.failf("usage is %+v, want %+v", got, want)
	}
}

func (w *walker) candidate(attempt int) {
	w.t.Helper()
	w.note("Candidate(%d)", attempt)
	want := w.model.candidates()
	got, err := w.pool.Candidate(attempt)
	if len(want) == 0 {
		if _, ok := errors.AsType[*ExhaustedError](err); !ok {
			w.failf("nothing is left, but got %v, %v", got, err)
		}
		return
	}
	if attempt == 0 {
		want = want[:1]
	}
	if !slices.Contains(want, Candidate{Addr: got.Addr, Replaces: got.Replaces}) || got.Fresh != (got.Replaces == 0) || err != nil {
		w.failf("got %v, %v, want one of %v", got, err, want)
	}
	w.model.held[got.Addr] = got
	if got.Replaces == 0 {
		w.model.cursor = got.Addr
	}
}

// anyHeld returns one of the candidates in play.
func (w *walker) anyHeld(arg byte) (Candidate, bool) {
	var held []Candidate
	for _, c := range w.model.held {
		held = append(held, c)
	}
	if len(held) == 0 {
		return Candidate{}, false
	}
	slices.SortFunc(held, func(a, b Candidate) int { return a.Addr.Compare(b.Addr) })
	return held[int(arg)%len(held)], true
}

func (w *walker) release(c Candidate) {
	w.note("Release(%v)", c)
	w.pool.Release(c)
	delete(w.model.held, c.Addr)
	if c.Replaces == 0 && w.model.cursor == c.Addr {
		w.model.cursor = c.Addr.Prev()
		if !w.model.within.Contains(w.model.cursor) {
			w.model.cursor = netip.Addr{}
		}
	}
}

func (w *walker) observe(c Claim) {
	w.t.Helper()
	w.note("Observe(%v)", c)
	if err := w.pool.Observe(c); err != nil {
		w.failf("observe %v: %v", c, err)
	}
	w.model.seen = max(w.model.seen, c.Rev)
	w.model.apply(c)
}

func (w *walker) learn(c Claim) {
	w.t.Helper()
	w.note("Learn(%v)", c)
	if err := w.pool.Learn(c); err != nil {
		w.failf("learn %v: %v", c, err)
	}
	if c.Rev >= w.model.seen {
		w.model.apply(c)
	}
}

func (w *walker) static(addr netip.Addr) {
	w.t.Helper()
	w.note("Static(%s)", addr)
	got, err := w.pool.Static(addr)
	claim := w.model.claims[addr]
	switch {
	case w.model.reserved(addr):
		if !errors.Is(err, errdefs.ErrInvalid) && !errors.Is(err, errdefs.ErrExists) {
			w.failf("%s is reserved, but got %v, %v", addr, got, err)
		}
	case claim.State == Owned:
		if !errors.Is(err, errdefs.ErrExists) {
			w.failf("%s is owned, but got %v, %v", addr, got, err)
		}
	case err != nil || got != Candidate{Addr: addr, Replaces: claim.Rev, Fresh: claim.Rev == 0}:
		w.failf("got %v, %v, want the tombstone of revision %d", got, err, claim.Rev)
	}
}

// reset lists the claims without some that vanished, which the watch had no time to tell.
func (w *walker) reset(arg byte) {
	w.t.Helper()
	w.rev++
	var listing []Claim
	for addr, c := range w.model.claims {
		if addr.As16()[15]%8 != arg%8 {
			listing = append(listing, c)
		}
	}
	w.note("Reset(%v, %d)", listing, w.rev)
	if err := w.pool.Reset(listing, w.rev); err != nil {
		w.failf("reset: %v", err)
	}
	w.model.reset(listing, w.rev)
}

// walks are pools small enough for the model, one of each kind.
func walks() []Config {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	return []Config{
		{Subnet: prefix("10.0.0.0/28"), Gateway: addr("10.0.0.1")},
		{Subnet: prefix("fd00:1::/124"), Gateway: addr("fd00:1::1")},
		{Subnet: prefix("10.0.0.0/26"), Range: prefix("10.0.0.16/29"), Gateway: addr("10.0.0.1"),
			Auxiliary: map[string]netip.Addr{"router": addr("10.0.0.18"), "printer": addr("10.0.0.40")}},
		{Subnet: prefix("fd00:1::/122"), Range: prefix("fd00:1::30/124"),
			Auxiliary: map[string]netip.Addr{"router": addr("fd00:1::3f")}},
		{Subnet: prefix("10.0.0.2/31")},
		{Subnet: prefix("fd00:1::2/127"), Gateway: addr("fd00:1::2")},
		{Subnet: prefix("10.0.0.7/32")},
		{Subnet: prefix("fd00:1::7/128")},
	}
}
