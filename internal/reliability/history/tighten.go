package history

import "slices"

// tenure is the time a token owned a resource: its calls by index.
type tenure struct {
	acquire int
	release int // -1: never
}

// tighten returns the calls with moments that no order can use left out: of two owners of a resource one comes first, and
// when it can only be the one, the other's call took effect after the first one's release. That changes no verdict, and
// saves the search from trying at every moment a call whose outcome was found out late.
func tighten(ops []Op) []Op {
	tight := slices.Clone(ops)
	for _, owners := range tenures(ops) {
		for i, a := range owners {
			for _, b := range owners[i+1:] {
				switch aFirst, bFirst := mayPrecede(ops, a, b), mayPrecede(ops, b, a); {
				case aFirst && !bFirst:
					follow(tight, a.release, b.acquire)
				case bFirst && !aFirst:
					follow(tight, b.release, a.acquire)
				}
			}
		}
	}
	return tight
}

// tenures lists the owners that each resource had.
func tenures(ops []Op) map[string][]tenure {
	released := make(map[string]int)
	for i, op := range ops {
		if op.Kind == Release && op.Result == Done {
			released[op.Token] = i
		}
	}
	owners := make(map[string][]tenure)
	for i, op := range ops {
		if op.Kind != Acquire || op.Result != Done {
			continue
		}
		t := tenure{acquire: i, release: -1}
		if release, ok := released[op.Token]; ok {
			t.release = release
		}
		for _, r := range op.Got {
			owners[r] = append(owners[r], t)
		}
	}
	return owners
}

// mayPrecede reports whether a can have released the resource before b acquired it.
func mayPrecede(ops []Op, a, b tenure) bool {
	return a.release >= 0 && ops[a.release].Start <= ops[b.acquire].End
}

// follow leaves of two calls the moments at which the second can come after the first. Calls that leave none cannot be
// ordered, and stay as they are for the search to say so.
func follow(ops []Op, first, second int) {
	start, end := max(ops[first].Start, ops[second].Start), min(ops[first].End, ops[second].End)
	if start <= ops[second].End && end >= ops[first].Start {
		ops[second].Start, ops[first].End = start, end
	}
}
