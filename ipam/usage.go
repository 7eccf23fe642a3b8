package ipam

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/libcnm/libcnm/internal/errdefs"
)

const (
	// pruneKeep is how many tombstones a pool keeps at least: an address is not reused before that many others were
	// freed after it. Records of 100 bytes make that 100 KiB for a subnet in the store.
	pruneKeep = 1024
	// pruneBatch is how many tombstones are forgotten at once: a guard and a delete each, within a store's limit of 100.
	pruneBatch = 50
)

// Usage says how full a pool is. It counts the addresses that automatic allocation can give; reserved ones are not
// among them, and neither are static ones outside of the range.
type Usage struct {
	Size  uint64 // math.MaxUint64 stands for 2^64 or more
	Used  uint64 // owned, as far as the view knows
	Held  uint64 // proposed as candidates and not committed yet
	Freed uint64 // tombstones that are not held: the rest was never used
}

// counts are the parts of Usage that change.
type counts struct{ owned, held, freed uint64 }

func (c *counts) add(e entry, sign int) {
	n := uint64(sign) // subtraction is addition modulo 2^64
	switch {
	case e.state == Owned:
		c.owned += n
	case e.hold != 0:
		c.held += n
	case e.state == Freed:
		c.freed += n
	}
}

// Usage returns how full the pool is.
func (p *Pool) Usage() Usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lockedUsage()
}

func (p *Pool) lockedUsage() Usage {
	u := Usage{Size: p.size, Used: p.counts.owned, Held: p.counts.held, Freed: p.counts.freed}
	if hostBits(p.within) >= 64 {
		u.Size = math.MaxUint64
	}
	return u
}

// Prune returns the oldest tombstones when there are more than are of use, so that a large subnet does not collect one
// for every address it ever used: the caller deletes those that are unchanged. It returns none while addresses without
// a claim are scarce, and otherwise a batch of at most 50 as soon as there is a whole one to forget. The highest address that
// was ever used keeps its tombstone: it shows which are fresh.
func (p *Pool) Prune() []Claim {
	p.mu.Lock()
	defer p.mu.Unlock()
	unused := p.span - p.taken.count()
	if unused < pruneKeep || p.freed.total() < pruneKeep+pruneBatch {
		return nil
	}
	oldest := make([]Claim, 0, pruneBatch)
	for i := range uint64(pruneBatch) {
		if t := p.freed.at(i); t.off+1 != p.used {
			oldest = append(oldest, Claim{Addr: addrAt(p.base, t.off), State: Freed, Rev: t.rev})
		}
	}
	return oldest
}

// ExhaustedError says that a pool has no address left. It is an ErrExhausted.
type ExhaustedError struct {
	Pool  netip.Prefix
	Range netip.Prefix // zero: the whole pool
	Size  uint64       // as in Usage
	Used  uint64
	Held  uint64 // above 0: other callers are trying the last addresses now, and one may come back
}

func (e *ExhaustedError) Error() string {
	held := ""
	if e.Held > 0 {
		held = fmt.Sprintf(" and %d being allocated", e.Held)
	}
	return fmt.Sprintf("%s: %d of %d addresses in use%s: %v",
		poolName(e.Pool, e.Range), e.Used, e.Size, held, errdefs.ErrExhausted)
}

func (e *ExhaustedError) Unwrap() error { return errdefs.ErrExhausted }
