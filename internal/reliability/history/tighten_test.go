package history

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestTightenChangesNoVerdict compares the verdicts on random histories, of which about half can be explained, with those
// on the same histories as they were recorded.
func TestTightenChangesNoVerdict(t *testing.T) {
	verdicts := map[bool]int{}
	for seed := range uint64(4_000) {
		ops := randomOps(rand.New(rand.NewPCG(seed, 0)))
		want := porcupine.CheckOperations(model, operations(ops, nil))
		tight := tighten(ops)
		if got := porcupine.CheckOperations(model, operations(tight, nil)); got != want {
			t.Fatalf("seed %d: verdict %v became %v:\n%s\n%s", seed, want, got, lines(ops), lines(tight))
		}
		verdicts[want]++
	}
	if min(verdicts[true], verdicts[false]) < 400 {
		t.Errorf("verdicts %v: the histories are too much alike", verdicts)
	}
}

// TestTighten: b was acquired when a was gone, and not before.
func TestTighten(t *testing.T) {
	ops := []Op{
		{Token: "b", Got: []string{"x"}, Start: 0, End: 100},
		{Token: "a", Got: []string{"x"}, Start: 10, End: 20},
		{Kind: Release, Token: "a", Start: 30, End: 200},
	}
	want := `[0.000030, 0.000100] client 0: b acquires: got x
[0.000010, 0.000020] client 0: a acquires: got x
[0.000030, 0.000100] client 0: a is released
`
	if got := lines(tighten(ops)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// randomOps are a few objects that have the same two resources for a while, each call of which takes long.
func randomOps(random *rand.Rand) []Op {
	var ops []Op
	add := func(op Op, at int64) {
		op.Start, op.End = at-random.Int64N(15), at+random.Int64N(15)
		ops = append(ops, op)
	}
	at := random.Int64N(10)
	for i := range 2 + random.IntN(5) {
		token := fmt.Sprint("t", i)
		got := [][]string{{"x"}, {"y"}, {"x", "y"}}[random.IntN(3)]
		add(Op{Token: token, Got: got}, at)
		at += random.Int64N(30)
		if random.IntN(6) > 0 {
			add(Op{Kind: Release, Token: token}, at)
			at += random.Int64N(20) - 8
		}
		if random.IntN(3) == 0 {
			add(Op{Token: "refused", Want: got[:1], Result: Exists}, at)
		}
		if random.IntN(3) == 0 {
			add(Op{Kind: Find, Token: token, Want: got[:1]}, at)
		}
	}
	return ops
}

func lines(ops []Op) (text string) {
	for i := range ops {
		text += fmt.Sprintf("[%.6f, %.6f] %s\n", float64(ops[i].Start)/1e6, float64(ops[i].End)/1e6, &ops[i])
	}
	return text
}
