package local

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return mustOpen(t, newPath(t)) },
		storetest.WithReopen(func(t *testing.T, closed store.Store) store.Store {
			return mustOpen(t, closed.(*Store).path)
		}),
		storetest.WithCompact(func(t *testing.T, s store.Store, _ store.Rev) {
			big := make([]byte, store.MaxBytes/2)
			for i := 0; i*len(big) <= historySize; i++ {
				if _, err := s.Commit(t.Context(), nil, store.Put(fmt.Sprintf("filler/%d", i), big)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Commit(t.Context(), nil, store.DeletePrefix("filler/")); err != nil {
				t.Fatal(err)
			}
		}))
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "dir", "test.db") }

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
