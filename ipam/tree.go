package ipam

import "math/rand/v2"

// item is a key of a tree, with the weight it counts for.
type item[K any] interface {
	before(K) bool
	weight() uint64
}

// tree is an ordered set that can count and select by weight, each operation in O(log n) expected time: a treap whose
// nodes know the weight below them. The zero value is empty.
type tree[K item[K]] struct {
	root *node[K]
}

type node[K item[K]] struct {
	key         K
	priority    uint64 // a parent's is not below its children's, which balances the tree at random
	total       uint64 // weight of the subtree
	left, right *node[K]
}

func (n *node[K]) sum() uint64 {
	if n == nil {
		return 0
	}
	return n.total
}

func (n *node[K]) update() {
	n.total = n.left.sum() + n.key.weight() + n.right.sum()
}

// total is the weight of all keys.
func (t *tree[K]) total() uint64 { return t.root.sum() }

// insert adds a key that is not in the tree.
func (t *tree[K]) insert(key K) {
	low, high := split(t.root, key)
	added := &node[K]{key: key, priority: rand.Uint64(), total: key.weight()}
	t.root = join(join(low, added), high)
}

// remove takes key out, if it is there.
func (t *tree[K]) remove(key K) { t.root = remove(t.root, key) }

// floor returns the greatest key that is not after key.
func (t *tree[K]) floor(key K) (found K, ok bool) {
	for n := t.root; n != nil; {
		if key.before(n.key) {
			n = n.left
			continue
		}
		found, ok = n.key, true
		n = n.right
	}
	return found, ok
}

// at returns the key that covers position pos when all keys are laid out in order, each as long as its weight. pos is
// below total.
func (t *tree[K]) at(pos uint64) (found K) {
	for n := t.root; n != nil; {
		left := n.left.sum()
		switch through := left + n.key.weight(); {
		case pos < left:
			n = n.left
		case pos < through:
			return n.key
		default:
			pos -= through
			n = n.right
		}
	}
	return found
}

// split divides n into the keys before key and the others.
func split[K item[K]](n *node[K], key K) (low, high *node[K]) {
	if n == nil {
		return nil, nil
	}
	if n.key.before(key) {
		n.right, high = split(n.right, key)
		n.update()
		return n, high
	}
	low, n.left = split(n.left, key)
	n.update()
	return low, n
}

// join is the inverse of split: every key of low is before every key of high.
func join[K item[K]](low, high *node[K]) *node[K] {
	switch {
	case low == nil:
		return high
	case high == nil:
		return low
	case low.priority >= high.priority:
		low.right = join(low.right, high)
		low.update()
		return low
	}
	high.left = join(low, high.left)
	high.update()
	return high
}

func remove[K item[K]](n *node[K], key K) *node[K] {
	switch {
	case n == nil:
		return nil
	case key.before(n.key):
		n.left = remove(n.left, key)
	case n.key.before(key):
		n.right = remove(n.right, key)
	default:
		return join(n.left, n.right)
	}
	n.update()
	return n
}
