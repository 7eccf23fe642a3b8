package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/store"
)

var commitLaws = []law{
	{
		name:  "guards compare exactly",
		why:   "names, addresses and VNIs are unique only because of guards",
		check: guardsCompare,
	},
	{
		name:  "a commit is all or nothing",
		why:   "an endpoint, its name and its addresses are claimed together, or an address could leak",
		check: commitIsAtomic,
	},
	{
		name:  "revisions grow with changes",
		why:   "a revision stands for one state; deleting and creating a key again must not bring an old one back",
		check: revisionsGrow,
	},
	{
		name:  "deletes delete what they name",
		why:   "removing what is absent is success, so that a repeated cleanup is; a prefix ends at a slash",
		check: deletesDelete,
	},
	{
		name:  "a commit without ops checks its guards",
		why:   "that is how several records are verified at one revision",
		check: commitWithoutOps,
	},
	{
		name:  "bad input is refused early",
		why:   "keys are made from names that users choose",
		check: badInputIsRefused,
	},
	{
		name:  "the limits are usable",
		why:   "callers cut their work at the documented limits",
		check: limitsAreUsable,
	},
	{
		name:  "random commits behave like a map",
		why:   "what no other law thought of",
		check: randomCommits,
	},
}

func guardsCompare(k *checker) {
	old := k.put("changed", "1")
	k.put("changed", "2")
	gone := k.put("gone", "1")
	k.commit(nil, store.Delete("gone"))
	before := k.put("recreated", "1")
	k.commit(nil, store.Delete("recreated"))
	k.put("recreated", "1")
	k.put("dir/a", "")

	changed, recreated := k.get("changed"), k.get("recreated")
	at := func(key string, rev store.Rev) store.Guard { return store.Guard{Key: key, Rev: rev} }
	for _, c := range []struct {
		name  string
		guard store.Guard
		holds bool
	}{
		{"absent key is absent", store.Absent("new"), true},
		{"deleted key is absent", store.Absent("gone"), true},
		{"present key is not absent", store.Absent("changed"), false},
		{"a key's parent is absent", store.Absent("dir"), true},
		{"present key exists", store.Exists("changed"), true},
		{"absent key does not exist", store.Exists("new"), false},
		{"deleted key does not exist", store.Exists("gone"), false},
		{"a key's parent does not exist", store.Exists("dir"), false},
		{"value is unchanged", store.Unchanged(changed), true},
		{"recreated value is unchanged since", store.Unchanged(recreated), true},
		{"value was changed", at("changed", old), false},
		{"value was deleted", at("gone", gone), false},
		{"value was recreated", at("recreated", before), false},
		{"value at the wrong revision", at("changed", recreated.Rev), false},
		{"value at a future revision", at("changed", recreated.Rev+1000), false},
		{"absent key at a revision", at("new", old), false},
		{"empty prefix", store.AbsentPrefix("none/"), true},
		{"prefix of a sibling", store.AbsentPrefix("di/"), true},
		{"prefix that is only a key", store.AbsentPrefix("changed/"), true},
		{"prefix with a key", store.AbsentPrefix("dir/"), false},
	} {
		k.Run(c.name, func(t *testing.T) {
			k := k.with(t)
			// Alone, and next to one that holds, in both orders.
			for _, guards := range [][]store.Guard{{c.guard}, {store.Exists("dir/a"), c.guard}, {c.guard, store.Exists("dir/a")}} {
				if c.holds {
					k.commit(guards, store.Put("out", []byte(c.name)))
				} else {
					k.refuse(store.ErrConflict, guards, store.Put("out", []byte(c.name)), store.Delete("dir/a"))
				}
			}
		})
	}
}

func commitIsAtomic(k *checker) {
	k.put("a", "1")
	k.put("dir/x", "1")
	rev := k.commit([]store.Guard{store.Exists("a"), store.Absent("b")},
		store.Put("b", []byte("2")), store.Put("c", []byte("2")), store.Delete("a"), store.DeletePrefix("dir/"))
	want := []store.Record{{Key: "b", Value: []byte("2"), Rev: rev}, {Key: "c", Value: []byte("2"), Rev: rev}}
	got, _ := k.list("")
	if diff := cmp.Diff(want, got); diff != "" {
		k.Errorf("after one commit (-want +got):\n%s", diff)
	}
	k.refuse(store.ErrConflict, []store.Guard{store.Exists("b"), store.Exists("a")},
		store.Put("b", []byte("3")), store.Delete("c"), store.Put("d", nil), store.DeletePrefix("b/"))
}

func revisionsGrow(k *checker) {
	last := k.rev()
	grows := func(what string, rev store.Rev) {
		if rev <= last {
			k.Errorf("%s has revision %d after %d", what, rev, last)
		}
		last = rev
	}
	grows("create", k.put("a", "1"))
	grows("same value again", k.put("a", "1"))
	grows("delete", k.commit(nil, store.Delete("a")))
	grows("create again", k.put("a", "1"))
	grows("delete of a prefix", k.commit(nil, store.Delete("a"), store.Put("b/c", nil)))
	for what, ops := range map[string][]store.Op{
		"delete of an absent key":      {store.Delete("none")},
		"delete of an empty prefix":    {store.DeletePrefix("none/")},
		"commit of nothing whatsoever": nil,
	} {
		if rev := k.commit(nil, ops...); rev != last || k.rev() != last {
			k.Errorf("%s has revision %d and the store %d, want %d as before", what, rev, k.rev(), last)
		}
	}
	k.refuse(store.ErrConflict, []store.Guard{store.Exists("none")}, store.Put("d", nil))
	if rev := k.rev(); rev != last {
		k.Errorf("a conflict moved the revision from %d to %d", last, rev)
	}
}

func deletesDelete(k *checker) {
	for _, key := range []string{"a", "a/1", "a/2/x", "a-1", "a.1", "ab", "b/1"} {
		k.put(key, "")
	}
	k.commit(nil, store.DeletePrefix("a/"), store.Delete("none"))
	if diff := cmp.Diff([]string{"a", "a-1", "a.1", "ab", "b/1"}, k.keys("")); diff != "" {
		k.Errorf("after delete of prefix a/ (-want +got):\n%s", diff)
	}
	k.commit(nil, store.Delete("a"))
	if diff := cmp.Diff([]string{"a-1", "a.1", "ab", "b/1"}, k.keys("")); diff != "" {
		k.Errorf("after delete of a (-want +got):\n%s", diff)
	}
}

func commitWithoutOps(k *checker) {
	rev := k.put("a", "1")
	if got := k.commit([]store.Guard{{Key: "a", Rev: rev}, store.Absent("b")}); got != rev {
		k.Errorf("got revision %d, want %d", got, rev)
	}
	k.refuse(store.ErrConflict, []store.Guard{store.Absent("a")})
	k.refuse(store.ErrConflict, []store.Guard{store.Exists("b")})
}

func badInputIsRefused(k *checker) {
	k.put("a", "1")
	k.put("dir/a", "1")
	long := strings.Repeat("x", store.MaxKey+1)
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/./b", "a b", "a\nb", "a\x00", "a;b", "ä", "a\xff", "a%", "*", long,
	} {
		if _, err := k.Get(k.ctx, key); !isInvalid(err) {
			k.Errorf("get %q: got %v, want ErrInvalid", key, err)
		}
		k.refuse(store.ErrInvalid, nil, store.Put(key, nil))
		k.refuse(store.ErrInvalid, nil, store.Put("b", nil), store.Delete(key))
		k.refuse(store.ErrInvalid, []store.Guard{store.Absent(key)}, store.Put("b", nil))
	}
	for _, prefix := range []string{"/", "a", "a//", "/a/", "../", "a/../", "./", "a b/", "a\n/", "\x00/", long + "/"} {
		if _, _, err := k.List(k.ctx, prefix); !isInvalid(err) {
			k.Errorf("list %q: got %v, want ErrInvalid", prefix, err)
		}
		if err := firstError(k.Watch(k.ctx, prefix, 0)); !isInvalid(err) {
			k.Errorf("watch %q: got %v, want ErrInvalid", prefix, err)
		}
		k.refuse(store.ErrInvalid, nil, store.DeletePrefix(prefix), store.Put("b", nil))
		k.refuse(store.ErrInvalid, []store.Guard{store.AbsentPrefix(prefix)}, store.Put("b", nil))
	}
	if err := firstError(k.Watch(k.ctx, "", -1)); !isInvalid(err) {
		k.Errorf("watch from revision -1: got %v, want ErrInvalid", err)
	}
	for _, ops := range [][]store.Op{
		{store.Put("b", nil), store.Put("b", nil)},
		{store.Put("b", nil), store.Delete("b")},
		{store.Delete("a"), store.Delete("a")},
		{store.DeletePrefix("dir/"), store.Put("dir/b", nil)},
		{store.Delete("dir/a"), store.DeletePrefix("dir/")},
		{store.DeletePrefix("dir/"), store.DeletePrefix("dir/a/")},
		{store.DeletePrefix("dir/"), store.DeletePrefix("dir/")},
		{store.DeletePrefix("")},
		{{Key: "dir/", Prefix: true, Value: []byte("1")}},
		{{Key: "a", Delete: true, Value: []byte("1")}},
	} {
		k.refuse(store.ErrInvalid, nil, ops...)
	}
	k.refuse(store.ErrInvalid, []store.Guard{store.AbsentPrefix("")}, store.Put("b", nil))
	k.refuse(store.ErrInvalid, []store.Guard{{Key: "a", Rev: -1}}, store.Put("b", nil))
	guards, ops := many(store.MaxOps + 1)
	k.refuse(store.ErrInvalid, guards)
	k.refuse(store.ErrInvalid, nil, ops...)
	k.refuse(store.ErrInvalid, nil, store.Put("b", make([]byte, store.MaxBytes)))
}

func limitsAreUsable(k *checker) {
	long := strings.Repeat("k", store.MaxKey)
	k.put(long, "at the longest key")
	if got := k.keys(""); len(got) != 1 || got[0] != long {
		k.Errorf("the longest key is listed as %.20q", got)
	}
	if got := k.keys(long + "/"); len(got) != 0 {
		k.Errorf("the longest prefix lists %.20q", got)
	}
	guards, ops := many(store.MaxOps)
	k.commit(guards, ops...)
	k.refuse(store.ErrConflict, guards, ops...)
	if n := len(k.keys("many/")); n != store.MaxOps {
		k.Errorf("%d of %d puts of one commit are there", n, store.MaxOps)
	}
	k.commit(nil, store.Put("b", make([]byte, store.MaxBytes-1)))
}

func many(n int) (guards []store.Guard, ops []store.Op) {
	for i := range n {
		key := fmt.Sprintf("many/%d", i)
		guards = append(guards, store.Absent(key))
		ops = append(ops, store.Put(key, []byte(key)))
	}
	return guards, ops
}
