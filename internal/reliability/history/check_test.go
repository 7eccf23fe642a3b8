package history_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/history"
)

const limit = 10 * time.Second

// acquired, refused, released and found are calls on one realm; from and to are moments.
func acquired(token string, from, to int64, got ...string) history.Op {
	return history.Op{Realm: "blue", Token: token, Got: got, Start: from, End: to}
}

func refused(result history.Result, from, to int64, what ...string) history.Op {
	op := history.Op{Realm: "blue", Token: "refused", Result: result, Start: from, End: to}
	if result == history.Exists {
		op.Want = what
	} else {
		op.Pools = what
	}
	return op
}

func released(token string, result history.Result, from, to int64) history.Op {
	return history.Op{Realm: "blue", Kind: history.Release, Token: token, Result: result, Start: from, End: to}
}

func found(resource, owner string, from, to int64) history.Op {
	op := history.Op{Realm: "blue", Kind: history.Find, Want: []string{resource}, Token: owner, Start: from, End: to}
	if owner == "" {
		op.Result = history.Absent
	}
	return op
}

// in makes the object inside another.
func in(parent string, op history.Op) history.Op {
	op.Parent = parent
	return op
}

func TestCheck(t *testing.T) {
	type ops = []history.Op
	for _, c := range []struct {
		name string
		ops  ops
		says string // "": all is well
	}{
		{"nothing", nil, ""},
		{"one after the other", ops{acquired("a", 0, 1, "x"), released("a", history.Done, 2, 3), acquired("b", 4, 5, "x")}, ""},
		{"calls that overlap in time", ops{acquired("a", 0, 1, "x"), acquired("b", 2, 9, "x"), released("a", history.Done, 3, 8)}, ""},
		{"two owners", ops{acquired("a", 0, 1, "x"), acquired("b", 2, 3, "x")}, "owners of blue x"},
		{"two owners, one of which is released later", ops{
			acquired("a", 0, 1, "x"), acquired("b", 2, 3, "x"), released("a", history.Done, 4, 5),
		}, "owners of blue x"},
		{"two owners of another resource", ops{acquired("a", 0, 1, "x", "y"), acquired("b", 2, 3, "z", "y")}, "owners of blue y"},
		{"two owners at once", ops{acquired("a", 0, 5, "x"), acquired("b", 0, 5, "x")}, "owners of blue x"},
		{"refused with an owner", ops{acquired("a", 0, 1, "x"), refused(history.Exists, 2, 3, "x")}, ""},
		{"refused for a moment's owner", ops{
			acquired("a", 0, 4, "x"), released("a", history.Done, 5, 6), refused(history.Exists, 3, 9, "x"),
		}, ""},
		{"refused without an owner", ops{acquired("a", 0, 1, "y"), refused(history.Exists, 2, 3, "x")}, "owners of blue x"},
		{"refused after the release", ops{
			acquired("a", 0, 1, "x"), released("a", history.Done, 2, 3), refused(history.Exists, 4, 5, "x"),
		}, "owners of blue x"},
		{"refused for one of two", ops{acquired("a", 0, 1, "y"), refused(history.Exists, 2, 3, "x", "y")}, ""},
		{"refused for neither", ops{acquired("a", 0, 1, "z"), refused(history.Exists, 2, 3, "x", "y")}, "answers in blue"},
		{"exhausted", ops{acquired("a", 0, 1, "p1"), acquired("b", 2, 3, "p2"), refused(history.Exhausted, 4, 5, "pool")}, ""},
		{"exhausted too early", ops{acquired("a", 0, 1, "p1"), refused(history.Exhausted, 2, 3, "pool")}, "answers in blue"},
		// Each of the two was taken at some moment of the call, but never both.
		{"exhausted at no moment", ops{
			acquired("a", 0, 1, "p1"), refused(history.Exhausted, 2, 9, "pool"),
			released("a", history.Done, 3, 4), acquired("b", 5, 6, "p2"),
		}, "answers in blue"},
		{"a pool that nobody knows is never empty", ops{refused(history.Exhausted, 0, 1, "sea")}, "answers in blue"},
		{"released by somebody else", ops{acquired("a", 0, 1, "x"), released("a", history.Absent, 2, 3)}, "owners of blue x"},
		{"released twice", ops{
			acquired("a", 0, 1, "x"), released("a", history.Done, 2, 3), released("a", history.Done, 4, 5),
		}, "owners of blue x"},
		{"released again", ops{
			acquired("a", 0, 1, "x"), released("a", history.Done, 2, 3), released("a", history.Absent, 4, 5),
		}, ""},
		{"found", ops{found("x", "", 0, 1), acquired("a", 2, 3, "x"), found("x", "a", 4, 5)}, ""},
		{"not found", ops{acquired("a", 2, 3, "x"), found("x", "", 4, 5)}, "owners of blue x"},
		{"found after its release", ops{
			acquired("a", 0, 1, "x"), released("a", history.Done, 2, 3), found("x", "a", 4, 5),
		}, "owners of blue x"},
		{"made in another and removed before it", ops{
			acquired("a", 0, 1, "x"), in("a", acquired("b", 2, 3, "y")), released("a", history.InUse, 4, 5),
			released("b", history.Done, 6, 7), released("a", history.Done, 8, 9),
			in("a", refused(history.Absent, 10, 11)),
		}, ""},
		{"made in what is gone", ops{
			acquired("a", 0, 1, "x"), released("a", history.Done, 2, 3), in("a", acquired("b", 4, 5, "y")),
		}, "answers in blue"},
		{"removed with something in it", ops{
			acquired("a", 0, 1, "x"), in("a", acquired("b", 2, 3, "y")), released("a", history.Done, 4, 5),
		}, "answers in blue"},
		{"in use by nothing", ops{acquired("a", 0, 1, "x"), released("a", history.InUse, 2, 3)}, "answers in blue"},
		{"absent though it is there", ops{acquired("a", 0, 1, "x"), in("a", refused(history.Absent, 2, 3))}, "answers in blue"},
		{"found before it was there", ops{found("x", "a", 0, 1), acquired("a", 2, 3, "x")}, "owners of blue x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h history.History
			h.Pool("pool", "p1", "p2")
			for _, op := range c.ops {
				h.Add(op)
			}
			v := h.Check(limit)
			if v.Ok() != (c.says == "") || !strings.Contains(v.String(), c.says) {
				t.Errorf("verdict %q, want it to say %q", v, c.says)
			}
		})
	}
}

func TestRealmsAreApart(t *testing.T) {
	var h history.History
	for _, realm := range []string{"blue", "green"} {
		op := acquired(realm, 0, 1, "x")
		op.Realm = realm
		h.Add(op)
	}
	if v := h.Check(limit); !v.Ok() {
		t.Error(v)
	}
}

func TestTally(t *testing.T) {
	var h history.History
	h.Add(acquired("a", 0, 1, "x"))
	h.Add(refused(history.Exists, 0, 1, "x"))
	h.Add(refused(history.Exists, 0, 1, "x"))
	h.Add(released("a", history.InUse, 2, 3))
	want := map[string]int{"acquire done": 1, "acquire exists": 2, "release in use": 1}
	if got := h.Tally(); !maps.Equal(got, want) {
		t.Errorf("tally %v, want %v", got, want)
	}
}

func TestVerdictShowsTheCalls(t *testing.T) {
	var h history.History
	h.Add(acquired("a", 1e6, 2e6, "x"))
	h.Add(acquired("b", 3e6, 4e6, "x"))
	const want = `no order of the calls explains the owners of blue x:
  after 1 of 2 calls, these fit nowhere:
    [2.000, 3.000] client 0: b acquires: got x
      x is owned since [0.000, 1.000] client 0: a acquires: got x

`
	if got := h.Check(limit).String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
