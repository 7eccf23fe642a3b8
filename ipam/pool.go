package ipam

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
)

const (
	// The window a candidate is drawn from after the first conflict, and its growth with each further one. A process
	// that lost a race for an address goes on somewhere in the window and is alone there for a while: with eight
	// processes filling a /16, one commit in twenty conflicts (TestContention prints it).
	firstWindow  = 64
	windowGrowth = 8
	maxWindow    = 1 << 20
)

// Config is what a Pool needs to know of its subnet. It does not change during the life of a pool.
type Config struct {
	Subnet netip.Prefix
	// Range limits automatic allocation to a part of Subnet; static addresses may come from all of it. Zero: no limit.
	Range netip.Prefix
	// Gateway is not allocated. Zero: the subnet has none.
	Gateway netip.Addr
	// Auxiliary are addresses of Subnet that something outside the network uses, by its name: not allocated either.
	Auxiliary map[string]netip.Addr
}

// Candidate is an address to try, with what the attempt assumes about its claim.
type Candidate struct {
	Addr netip.Addr
	// Replaces is the revision of the tombstone that the new claim overwrites. 0: there must be no claim.
	Replaces int64
	// Fresh says that nobody had the address before: there is no tombstone, and where some may have been pruned it is above
	// all that are, or were, in use.
	Fresh bool

	hold uint64 // 0: not held
}

// Pool is a view of the claims of one subnet and the policy that picks addresses from it. It is safe for concurrent
// use. No method blocks but for a moment, and each costs at most O(log n) in the number of claims, except Reset.
type Pool struct {
	subnet   netip.Prefix
	limit    netip.Prefix // automatic allocation stays inside; zero: no limit
	within   netip.Prefix // limit, or subnet
	base     netip.Addr   // offset 0: the first address of within
	span     uint64       // automatic allocation uses the offsets below it
	size     uint64       // how many of these are not reserved
	reserved map[netip.Addr]string

	mu      sync.Mutex // guards all following fields
	entries map[netip.Addr]entry
	taken   offsets    // reserved, claimed or held: what is absent here was never used
	freed   tree[tomb] // the tombstones that may be candidates
	counts  counts
	used    uint64 // above the highest offset that a claim or tombstone has had
	next    uint64 // offset that allocation goes on from
	seen    int64  // revision of the last event or listing
	holds   uint64 // the last hold given out
}

// entry is what is known of one address; the zero value is that of every address without an entry.
type entry struct {
	state State
	rev   int64
	hold  uint64 // the candidate that somebody is committing; 0: none
}

// tomb is a tombstone in the order of reuse.
type tomb struct {
	rev int64
	off uint64
}

func (t tomb) before(o tomb) bool { return t.rev < o.rev || t.rev == o.rev && t.off < o.off }
func (t tomb) weight() uint64     { return 1 }

// NewPool returns a pool without claims. ErrInvalid names the part of cfg that is wrong.
func NewPool(cfg Config) (*Pool, error) {
	if err := ValidateSubnet(cfg.Subnet); err != nil {
		return nil, err
	}
	p := &Pool{
		subnet: cfg.Subnet, limit: cfg.Range, within: cfg.Subnet,
		reserved: map[netip.Addr]string{}, entries: map[netip.Addr]entry{},
	}
	if cfg.Range != (netip.Prefix{}) {
		if err := validateRange(cfg.Subnet, cfg.Range); err != nil {
			return nil, err
		}
		p.within = cfg.Range
	}
	p.base, p.span = p.within.Addr(), span(p.within)
	if cfg.Gateway.IsValid() {
		if _, err := Gateway(cfg.Subnet, cfg.Gateway); err != nil {
			return nil, err
		}
		p.reserve(cfg.Gateway, "gateway")
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Auxiliary)) {
		addr, what := cfg.Auxiliary[name], fmt.Sprintf("auxiliary address %q", name)
		if err := checkUsable(what, cfg.Subnet, addr); err != nil {
			return nil, err
		}
		if other := p.reserved[addr]; other != "" {
			return nil, fmt.Errorf("%s %s: also the %s of subnet %s: %w", what, addr, other, cfg.Subnet, errdefs.ErrInvalid)
		}
		p.reserve(addr, what)
	}
	for _, addr := range []netip.Addr{cfg.Subnet.Addr(), lastAddr(cfg.Subnet)} {
		if name := reservedName(cfg.Subnet, addr); name != "" {
			p.reserve(addr, name)
		}
	}
	if p.size = p.span - p.taken.count(); p.size == 0 {
		return nil, fmt.Errorf("%s: every address is reserved: %w", p.name(), errdefs.ErrInvalid)
	}
	return p, nil
}

func validateRange(subnet, r netip.Prefix) error {
	switch {
	case !r.IsValid():
		return fmt.Errorf("range of subnet %s: not an address with a prefix length: %w", subnet, errdefs.ErrInvalid)
	case r != r.Masked():
		return fmt.Errorf("range %s of subnet %s: host bits are set, the range with that address is %s: %w",
			r, subnet, r.Masked(), errdefs.ErrInvalid)
	case r.Bits() < subnet.Bits() || !subnet.Contains(r.Addr()):
		return fmt.Errorf("range %s: not inside subnet %s: %w", r, subnet, errdefs.ErrInvalid)
	}
	return nil
}

func (p *Pool) reserve(addr netip.Addr, what string) {
	p.reserved[addr] = what
	if off, ok := offset(p.base, addr); ok && off < p.span {
		p.taken.add(off)
	}
}

// name is how messages call the pool.
func (p *Pool) name() string { return poolName(p.subnet, p.limit) }

func poolName(subnet, r netip.Prefix) string {
	if r.IsValid() {
		return fmt.Sprintf("pool %s range %s", subnet, r)
	}
	return fmt.Sprintf("pool %s", subnet)
}

// Subnet returns the subnet the pool is for.
func (p *Pool) Subnet() netip.Prefix { return p.subnet }

// Candidate proposes an address, and holds it: until it is released, or news of it arrives, no other call proposes it.
// attempt is 0 at first and one more after each conflict.
//
// Addresses without a claim come before freed ones. The first attempt takes the one that follows the last candidate,
// so one process hands out ascending addresses; the freed ones go out in the order they were freed. Further attempts
// draw from a window there that grows with attempt, of freed addresses within the half that was freed first. When the
// view has nothing left the error is an *ExhaustedError.
func (p *Pool) Candidate(attempt int) (Candidate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if unused := p.span - p.taken.count(); unused > 0 {
		rank := p.taken.absentBelow(p.next) + draw(attempt, unused)
		off := p.taken.absent(rank % unused)
		p.next = off + 1
		return p.lockedHold(addrAt(p.base, off)), nil
	}
	if n := p.freed.total(); n > 0 {
		// Of the older half only: also after a conflict, what was freed last is not the next to go out.
		return p.lockedHold(addrAt(p.base, p.freed.at(draw(attempt, (n+1)/2)).off)), nil
	}
	return Candidate{}, &ExhaustedError{
		Pool: p.subnet, Range: p.limit, Size: p.lockedUsage().Size, Used: p.counts.owned, Held: p.counts.held,
	}
}

// draw picks one of n positions, n > 0: the first on the first attempt, any of a growing window on the others.
func draw(attempt int, n uint64) uint64 {
	if attempt <= 0 {
		return 0
	}
	window := uint64(firstWindow)
	for i := 1; i < attempt && window < maxWindow; i++ {
		window *= windowGrowth
	}
	return rand.Uint64N(min(window, maxWindow, n))
}

func (p *Pool) lockedHold(addr netip.Addr) Candidate {
	e := p.entries[addr]
	p.holds++
	e.hold = p.holds
	p.lockedSet(addr, e)
	return Candidate{Addr: addr, Replaces: e.rev, Fresh: p.lockedFresh(addr, e), hold: e.hold}
}

// lockedFresh relies on allocation in ascending order, and on Prune, which spares the highest tombstone.
func (p *Pool) lockedFresh(addr netip.Addr, e entry) bool {
	off, ok := offset(p.base, addr)
	return e.rev == 0 && (p.span < 2*pruneKeep || ok && off >= p.used)
}

// Static checks a requested address: it must be one of the subnet (ErrInvalid), not the gateway or an auxiliary
// address, and not owned (ErrExists). The view may be behind: a caller that must not be refused for an address freed a
// moment ago elsewhere reads the claim and lets the pool Learn it first. The address is not held, and one held for
// another caller is not refused: the first commit wins.
func (p *Pool) Static(addr netip.Addr) (Candidate, error) {
	if err := checkUsable("address", p.subnet, addr); err != nil {
		return Candidate{}, err
	}
	if what := p.reserved[addr]; what != "" {
		return Candidate{}, fmt.Errorf("address %s: taken by the %s of %s: %w", addr, what, p.name(), errdefs.ErrExists)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[addr]
	if e.state == Owned {
		return Candidate{}, fmt.Errorf("address %s: in use in %s: %w", addr, p.name(), errdefs.ErrExists)
	}
	return Candidate{Addr: addr, Replaces: e.rev, Fresh: p.lockedFresh(addr, e)}, nil
}

// Release gives back a candidate that was not committed. It is harmless after a commit too, and after a second call.
func (p *Pool) Release(c Candidate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[c.Addr]
	if c.hold == 0 || e.hold != c.hold {
		return
	}
	e.hold = 0
	p.lockedSet(c.Addr, e)
	// An attempt that failed for another reason than its address leaves no hole in the sequence.
	if off, ok := offset(p.base, c.Addr); ok && e.state == Absent && p.next == off+1 {
		p.next = off
	}
}

// lockedSet is the only place that changes an entry, and with it everything derived from entries.
func (p *Pool) lockedSet(addr netip.Addr, e entry) {
	old := p.entries[addr]
	if e == (entry{}) {
		delete(p.entries, addr)
	} else {
		p.entries[addr] = e
	}
	off, inside := offset(p.base, addr)
	if !inside || off >= p.span || p.reserved[addr] != "" {
		return
	}
	p.counts.add(old, -1)
	p.counts.add(e, +1)
	if e.state != Absent {
		p.used = max(p.used, off+1)
	}
	if old.reusable() {
		p.freed.remove(tomb{old.rev, off})
	}
	if e.reusable() {
		p.freed.insert(tomb{e.rev, off})
	}
	switch unused := e == (entry{}); {
	case unused && old != (entry{}):
		p.taken.remove(off)
	case !unused:
		p.taken.add(off)
	}
}

func (e entry) reusable() bool { return e.state == Freed && e.hold == 0 }
