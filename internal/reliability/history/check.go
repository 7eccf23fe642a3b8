package history

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what Check found. The texts show the calls that do not fit.
type Verdict struct {
	Duplicates []string // a resource whose owners and answers no order explains
	Unordered  []string // a realm of which this is true, though of none of its resources alone
	Undecided  []string // what took too long
}

// Ok reports whether the history can be explained.
func (v *Verdict) Ok() bool { return len(v.Duplicates)+len(v.Unordered)+len(v.Undecided) == 0 }

func (v *Verdict) String() string {
	var b strings.Builder
	for _, part := range []struct {
		what  string
		texts []string
	}{
		{"no order of the calls explains the owners of", v.Duplicates},
		{"no order of the calls explains the answers in", v.Unordered},
		{"could not decide in time about", v.Undecided},
	} {
		for _, text := range part.texts {
			fmt.Fprintf(&b, "%s %s\n", part.what, text)
		}
	}
	return b.String()
}

// Check looks for an order that explains all calls: of each resource by itself, which finds duplicates fast, then of each
// realm as a whole. Each search ends after limit.
func (h *History) Check(limit time.Duration) *Verdict {
	v := &Verdict{}
	for realm, ops := range ordered(h.byRealm()) {
		ops = tighten(ops)
		found := len(v.Duplicates)
		for resource, part := range ordered(byResource(ops)) {
			name := realm + " " + resource
			switch porcupine.CheckOperationsTimeout(model, operations(part, nil), limit) {
			case porcupine.Illegal:
				v.Duplicates = append(v.Duplicates, name+":\n"+explain(part, nil, limit))
			case porcupine.Unknown:
				v.Undecided = append(v.Undecided, name)
			case porcupine.Ok:
			}
		}
		if len(v.Duplicates) > found {
			continue // whatever is wrong with the realm begins there
		}
		switch porcupine.CheckOperationsTimeout(model, operations(ops, h.pools), limit) {
		case porcupine.Illegal:
			v.Unordered = append(v.Unordered, realm+":\n"+explain(ops, h.pools, limit))
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, realm)
		case porcupine.Ok:
		}
	}
	return v
}

// ordered is the map in the order of its keys, so that the same history gives the same text.
func ordered[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// byResource is what the calls on a realm say of each resource alone. A refusal that one of several resources or a pool
// explains says nothing of any of them, and neither does one that is about another object.
func byResource(ops []Op) map[string][]Op {
	parts := make(map[string][]Op)
	holds := make(map[string][]string) // by token
	for _, op := range ops {
		if op.Kind == Acquire && op.Result == Done {
			holds[op.Token] = op.Got
		}
	}
	for _, op := range ops {
		part := op
		part.Pools, part.Parent = nil, ""
		switch {
		case op.Result == InUse, op.Kind == Acquire && op.Result == Absent:
		case op.Kind == Release:
			for _, r := range holds[op.Token] {
				parts[r] = append(parts[r], part)
			}
		case op.Kind == Acquire && op.Result == Done:
			for _, r := range op.Got {
				part.Got, part.Want = []string{r}, nil
				parts[r] = append(parts[r], part)
			}
		case op.Kind == Find, op.Result == Exists && len(op.Want) == 1:
			parts[op.Want[0]] = append(parts[op.Want[0]], part)
		}
	}
	return parts
}

// explain shows where the search for an order got stuck: the first calls that fit nowhere after the longest order found,
// and who owned then what they are about.
func explain(ops []Op, pools map[string][]string, limit time.Duration) string {
	const most = 8
	_, info := porcupine.CheckOperationsVerbose(model, operations(ops, pools), limit)
	var longest []porcupine.Operation
	for _, order := range info.PartialLinearizationsOperations()[0] {
		if len(order) > len(longest) {
			longest = order
		}
	}
	placed := make(map[int]bool)
	owners := make(map[string]int) // the call that took a resource last
	for _, o := range longest {
		i := o.Metadata.(int)
		placed[i] = true
		for _, r := range ops[i].Got {
			owners[r] = i
		}
		if ops[i].Kind == Release {
			maps.DeleteFunc(owners, func(_ string, by int) bool { return ops[by].Token == ops[i].Token })
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  after %d of %d calls, these fit nowhere:\n", len(longest), len(ops))
	shown := make(map[int]bool) // owners
	left := most
	for i := range ops {
		if placed[i] || left == 0 {
			continue
		}
		left--
		fmt.Fprintf(&b, "    %s\n", line(ops, i))
		for _, r := range slices.Concat(ops[i].Want, ops[i].Got) {
			if by, ok := owners[r]; ok && !shown[by] {
				shown[by] = true
				fmt.Fprintf(&b, "      %s is owned since %s\n", r, line(ops, by))
			}
		}
	}
	return b.String()
}

// line is a call with its moments in milliseconds since the first.
func line(ops []Op, i int) string {
	ms := func(t int64) float64 { return float64(t-ops[0].Start) / 1e6 }
	return fmt.Sprintf("[%.3f, %.3f] %s", ms(ops[i].Start), ms(ops[i].End), &ops[i])
}
