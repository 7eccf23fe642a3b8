package storetest

import (
	"bytes"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/store"
)

var readLaws = []law{
	{
		name:  "a record is what was put",
		why:   "records are other packages' encodings, which may be any bytes; the revision is what a guard compares",
		check: recordIsWhatWasPut,
	},
	{
		name:  "an absent key is not found",
		why:   "callers tell absence from trouble by the error class",
		check: func(k *checker) { k.absent("a"); k.put("a/b", ""); k.absent("a"); k.absent("a/b/c") },
	},
	{
		name:  "a list is sorted and complete",
		why:   "prefixes end at a slash, or network 1's endpoints would include network 10's",
		check: listIsSorted,
	},
	{
		name:  "a list has the revision of its state",
		why:   "a watch from there must miss nothing and repeat nothing",
		check: listHasRevision,
	},
	{
		name:  "values are not aliased",
		why:   "a caller that changes its slice must not change the store, nor what other callers hold",
		check: valuesAreNotAliased,
	},
}

func recordIsWhatWasPut(k *checker) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, value := range [][]byte{nil, {}, {0}, []byte("x"), every, bytes.Repeat([]byte("long"), 128<<10)} {
		rev := k.commit(nil, store.Put("a/b.c:d_e-F9", value))
		r := k.get("a/b.c:d_e-F9")
		if r.Key != "a/b.c:d_e-F9" || !bytes.Equal(r.Value, value) || r.Rev != rev {
			k.Errorf("got %s with %d bytes at revision %d, want %d bytes at %d", r.Key, len(r.Value), r.Rev, len(value), rev)
		}
	}
}

func listIsSorted(k *checker) {
	// In byte order "-" and "." come before "/", so a/1 and what is under it are not neighbours.
	keys := []string{"B", "a/1", "a/1-x", "a/1.x", "a/1/y", "a/10", "a/2", "a_", "ab", "b/c/d"}
	for _, key := range []string{"a/2", "ab", "a/1/y", "b/c/d", "a/10", "a_", "a/1-x", "B", "a/1", "a/1.x"} {
		k.put(key, "of "+key)
	}
	for prefix, want := range map[string][]string{
		"":       keys,
		"a/":     keys[1:7],
		"a/1/":   {"a/1/y"},
		"b/":     {"b/c/d"},
		"b/c/":   {"b/c/d"},
		"ab/":    {},
		"a/1/y/": {},
	} {
		if diff := cmp.Diff(want, k.keys(prefix)); diff != "" {
			k.Errorf("list %q (-want +got):\n%s", prefix, diff)
		}
	}
	recs, _ := k.list("a/")
	for _, r := range recs {
		if string(r.Value) != "of "+r.Key || r.Rev != k.get(r.Key).Rev {
			k.Errorf("list has %s = %q at %d, get has %+v", r.Key, r.Value, r.Rev, k.get(r.Key))
		}
	}
}

func listHasRevision(k *checker) {
	for _, op := range []store.Op{store.Put("a/1", nil), store.Put("b/1", nil), store.Delete("a/1"), store.DeletePrefix("b/")} {
		rev := k.commit(nil, op)
		for _, prefix := range []string{"", "a/", "none/"} {
			if _, got := k.list(prefix); got != rev {
				k.Errorf("list %q has revision %d after commit %d", prefix, got, rev)
			}
		}
	}
}

func valuesAreNotAliased(k *checker) {
	from := k.rev()
	scribble := func(b []byte) { copy(b, bytes.Repeat([]byte("!"), len(b))) }

	// Large enough that a store which maps its file would hand out the mapping.
	value := bytes.Repeat([]byte("value"), 1000)
	given := bytes.Clone(value)
	k.commit(nil, store.Put("a", given))
	scribble(given)
	r := k.get("a")
	scribble(r.Value)
	recs, _ := k.list("")
	scribble(recs[0].Value)
	for range 2 {
		e := k.watch("", from).next()
		if !bytes.Equal(e.Value, value) {
			k.Errorf("watch saw %.20q", e.Value)
		}
		scribble(e.Value)
	}
	if r := k.get("a"); !bytes.Equal(r.Value, value) {
		k.Errorf("get %.20q", r.Value)
	}
	if recs, _ := k.list(""); !bytes.Equal(recs[0].Value, value) {
		k.Errorf("list %.20q", recs[0].Value)
	}
}
