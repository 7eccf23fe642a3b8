package history

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/anishathalye/porcupine"
)

// owned is a resource with its owner, and the object that was made in: all by number, 0 for none.
type owned struct{ resource, token, parent int32 }

// state is who owns what, in the order of resources. It is never changed.
type state []owned

func (s state) find(resource int32) (int, bool) {
	return slices.BinarySearchFunc(s, resource, func(o owned, r int32) int { return cmp.Compare(o.resource, r) })
}

func (s state) owner(resource int32) (token int32, ok bool) {
	i, ok := s.find(resource)
	if !ok {
		return 0, false
	}
	return s[i].token, true
}

func (s state) has(token int32) bool {
	return slices.ContainsFunc(s, func(o owned) bool { return o.token == token })
}

func (s state) hasChild(token int32) bool {
	return slices.ContainsFunc(s, func(o owned) bool { return o.parent == token })
}

// call and answer are the two halves of an Op by number.
type call struct {
	kind   Kind
	token  int32
	parent int32
	want   []int32
	pools  [][]int32
}

type answer struct {
	result Result
	token  int32
	got    []int32
}

// step is the sequential specification: what a store with one client and no faults answers.
func step(s state, c call, a answer) (bool, state) {
	switch c.kind {
	case Acquire:
		return acquire(s, c, a)
	case Release:
		switch has := s.has(c.token); a.result {
		case InUse:
			return s.hasChild(c.token), s
		case Done:
			return has && !s.hasChild(c.token), slices.DeleteFunc(slices.Clone(s), func(o owned) bool { return o.token == c.token })
		case Absent:
			return !has, s
		default:
			return false, s
		}
	case Find:
		owner, ok := s.owner(c.want[0])
		switch a.result {
		case Done:
			return ok && owner == a.token, s
		case Absent:
			return !ok, s
		default:
			return false, s
		}
	}
	return false, s
}

func acquire(s state, c call, a answer) (bool, state) {
	isOwned := func(r int32) bool { _, ok := s.find(r); return ok }
	orphan := c.parent != 0 && !s.has(c.parent)
	switch a.result {
	case Absent:
		return orphan, s
	case Done:
		if orphan {
			return false, s
		}
		next := slices.Clone(s)
		for _, r := range a.got {
			i, taken := next.find(r)
			if taken {
				return false, s
			}
			next = slices.Insert(next, i, owned{r, c.token, c.parent})
		}
		return true, next
	case Exists:
		return slices.ContainsFunc(c.want, isOwned), s
	case Exhausted:
		return slices.ContainsFunc(c.pools, func(pool []int32) bool {
			return !slices.ContainsFunc(pool, func(r int32) bool { return !isOwned(r) })
		}), s
	default:
		return false, s
	}
}

var model = porcupine.Model{
	Init: func() any { return state(nil) },
	Step: func(s, in, out any) (bool, any) { return step(s.(state), in.(call), out.(answer)) },
	Equal: func(a, b any) bool {
		return slices.Equal(a.(state), b.(state))
	},
	Hash: func(s any) uint64 {
		h := fnv.New64a()
		var b [8]byte
		for _, o := range s.(state) {
			binary.NativeEndian.PutUint32(b[:4], uint32(o.resource))
			binary.NativeEndian.PutUint32(b[4:], uint32(o.token))
			h.Write(b[:])
		}
		return h.Sum64()
	},
}

// numbers gives out small numbers for names.
type numbers map[string]int32

func (n numbers) of(name string) int32 {
	id, ok := n[name]
	if !ok {
		id = int32(len(n)) + 1
		n[name] = id
	}
	return id
}

func (n numbers) all(names []string) []int32 {
	ids := make([]int32, len(names))
	for i, name := range names {
		ids[i] = n.of(name)
	}
	return ids
}

// operations translates calls for the checker. The metadata is the call's index.
func operations(ops []Op, pools map[string][]string) []porcupine.Operation {
	resources, tokens := numbers{}, numbers{}
	list := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		c := call{kind: op.Kind, token: tokens.of(op.Token), want: resources.all(op.Want)}
		if op.Parent != "" {
			c.parent = tokens.of(op.Parent)
		}
		for _, name := range op.Pools {
			// A pool nobody described is never empty.
			if pool := pools[name]; len(pool) > 0 {
				c.pools = append(c.pools, resources.all(pool))
			}
		}
		list[i] = porcupine.Operation{
			ClientId: op.Client, Metadata: i, Input: c, Call: op.Start, Return: op.End,
			Output: answer{result: op.Result, token: tokens.of(op.Token), got: resources.all(op.Got)},
		}
	}
	return list
}
