package ipam

import (
	"fmt"
	"net/netip"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// State is what a store says of an address.
type State uint8

// The states of a claim.
const (
	Absent State = iota // no claim: never used, or its tombstone was pruned
	Owned               // an endpoint has it
	Freed               // a tombstone
)

func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Owned:
		return "owned"
	case Freed:
		return "freed"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Claim is one address with its state.
type Claim struct {
	Addr  netip.Addr
	State State
	Rev   int64 // the store's revision that made it so, above 0
}

// Observe takes an event of the watch; events come in the order of their revisions. One that is older than what Learn
// has told of its address is ignored. ErrInvalid: the claim is malformed or of another subnet.
func (p *Pool) Observe(c Claim) error {
	if err := p.check(c); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, c.Rev)
	p.lockedApply(c)
	return nil
}

// Learn takes what the process found out by itself, by its own commit or by reading one claim, without waiting for the
// watch. If the watch is past that revision it has told of it already, and perhaps of more: then nothing changes.
// ErrInvalid: the claim is malformed or of another subnet.
func (p *Pool) Learn(c Claim) error {
	if err := p.check(c); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Rev >= p.seen {
		p.lockedApply(c)
	}
	return nil
}

// Reset replaces the view by a listing of all claims as of rev; what Learn has told of later revisions stays. The watch
// goes on after rev. ErrInvalid, with nothing changed: a claim is malformed or of another subnet.
func (p *Pool) Reset(claims []Claim, rev int64) error {
	listed := make(map[netip.Addr]bool, len(claims))
	for _, c := range claims {
		if err := p.check(c); err != nil {
			return err
		}
		listed[c.Addr] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, rev)
	for addr, e := range p.entries {
		if !listed[addr] && e.state != Absent && e.rev <= rev {
			p.lockedSet(addr, entry{})
		}
	}
	for _, c := range claims {
		p.lockedApply(c)
	}
	return nil
}

func (p *Pool) check(c Claim) error {
	switch {
	case !p.subnet.Contains(c.Addr):
		return fmt.Errorf("claim of address %s: outside %s: %w", c.Addr, p.name(), errdefs.ErrInvalid)
	case c.State > Freed:
		return fmt.Errorf("claim of address %s: unknown %s: %w", c.Addr, c.State, errdefs.ErrInvalid)
	case c.Rev <= 0:
		return fmt.Errorf("claim of address %s: revision %d: %w", c.Addr, c.Rev, errdefs.ErrInvalid)
	}
	return nil
}

// lockedApply makes c the known state of its address unless that is newer. News end a hold: whoever holds the address
// has just committed it, or is about to meet a conflict.
func (p *Pool) lockedApply(c Claim) {
	if c.Rev <= p.entries[c.Addr].rev {
		return
	}
	e := entry{state: c.State, rev: c.Rev}
	if c.State == Absent {
		e = entry{} // its revision is not kept: the watch being past it says as much
	}
	p.lockedSet(c.Addr, e)
}
