package store_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/store"
)

// FuzzCheckKey: a key that passes stays where it is put: it is its own clean path, printable, and no prefix.
func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"a", "a/b", "networks/0a", "a//b", "../a", "a/..", "/a", "a/", "a\nb", "é", "a/./b", strings.Repeat("a", 513)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if err := store.CheckKey(key); err != nil {
			if !errors.Is(err, store.ErrInvalid) || strings.ContainsAny(err.Error(), "\n\r\x00\x1b") {
				t.Errorf("%q: %q", key, err)
			}
			return
		}
		if path.Clean("/"+key) != "/"+key || len(key) > store.MaxKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q passed", key)
		}
		if err := store.CheckPrefix(key + "/"); err != nil {
			t.Errorf("prefix %q: %v", key+"/", err)
		}
	})
}
