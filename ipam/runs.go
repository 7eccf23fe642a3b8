package ipam

// run is a series of neighbouring offsets, first and last included.
type run struct{ first, last uint64 }

func (r run) before(o run) bool { return r.first < o.first }
func (r run) weight() uint64    { return r.last - r.first + 1 }

// offsets is a set of offsets below maxSpan, kept as its maximal runs: a subnet filled from one end costs one node
// however full it is. The zero value is empty.
type offsets struct {
	runs tree[run]
}

// count is how many offsets are in the set.
func (s *offsets) count() uint64 { return s.runs.total() }

// add puts x into the set, if it is not there.
func (s *offsets) add(x uint64) {
	joined := run{x, x}
	if low, ok := s.runs.floor(run{first: x}); ok {
		if x <= low.last {
			return
		}
		if low.last+1 == x {
			s.runs.remove(low)
			joined.first = low.first
		}
	}
	if high, ok := s.runs.floor(run{first: x + 1}); ok && high.first == x+1 {
		s.runs.remove(high)
		joined.last = high.last
	}
	s.runs.insert(joined)
}

// remove takes x out of the set, if it is there.
func (s *offsets) remove(x uint64) {
	r, ok := s.runs.floor(run{first: x})
	if !ok || r.last < x {
		return
	}
	s.runs.remove(r)
	if r.first < x {
		s.runs.insert(run{r.first, x - 1})
	}
	if x < r.last {
		s.runs.insert(run{x + 1, r.last})
	}
}

// absentBelow is how many offsets below x are not in the set.
func (s *offsets) absentBelow(x uint64) uint64 {
	var present uint64
	for n := s.runs.root; n != nil; {
		if x <= n.key.first {
			n = n.left
			continue
		}
		present += n.left.sum() + min(x, n.key.last+1) - n.key.first
		n = n.right
	}
	return x - present
}

// absent returns the offset that has exactly rank offsets below it that are not in the set, and is not either.
func (s *offsets) absent(rank uint64) uint64 {
	var present uint64 // offsets in the set below the answer
	for n := s.runs.root; n != nil; {
		below := present + n.left.sum()
		if rank < n.key.first-below {
			n = n.left
			continue
		}
		present = below + n.key.weight()
		n = n.right
	}
	return rank + present
}
