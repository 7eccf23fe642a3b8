package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// smallDisk returns a directory on a disk of 1 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	path, filler := filepath.Join(dir, "test.db"), filepath.Join(dir, "filler")
	s := mustOpen(t, path)
	if _, err := s.Commit(t.Context(), nil, store.Put("a", []byte("1"))); err != nil {
		t.Fatal(err)
	}
	fill(t, filler)
	before, err := contents(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := s.Commit(t.Context(), nil, store.Put("b", make([]byte, 200<<10)), store.Delete("a"))
		if !errors.Is(err, errdefs.ErrUnavailable) || !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("commit: got %v, want ErrUnavailable for want of space", err)
		}
		wantText(t, err, path, "no space left")
		if after, err := contents(t.Context(), s); err != nil || after != before {
			t.Fatalf("a commit that failed changed %s to %s, %v", before, after, err)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "other.db")); !errors.Is(err, unix.ENOSPC) || !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("create: got %v, want ErrUnavailable for want of space", err)
	}
	wantFiles(t, path, "filler", "test.db", "test.db.journal")

	// In a group, the commit that finds no room is the only one that fails.
	if err := os.Truncate(filler, 500<<10); err != nil {
		t.Fatal(err)
	}
	release := hold(s)
	errs := make(chan error, 3)
	for key, size := range map[string]int{"small/1": 10, "large": 900 << 10, "small/2": 10} {
		go func() {
			_, err := s.Commit(t.Context(), nil, store.Put(key, make([]byte, size)))
			if size > 100 != errors.Is(err, unix.ENOSPC) {
				err = fmt.Errorf("commit of %d bytes: %w", size, err)
			} else {
				err = nil
			}
			errs <- err
		}()
	}
	queued(t, s, 3)
	release()
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), []store.Guard{store.Exists("a")}, store.Put("b", make([]byte, 200<<10))); err != nil {
		t.Errorf("commit after space was freed: %v", err)
	}
	want, err := contents(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	if got, err := contents(t.Context(), s); err != nil || got != want {
		t.Errorf("after close and open the contents differ: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill writes to path until the file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if closeErr := f.Close(); !errors.Is(err, unix.ENOSPC) || closeErr != nil {
		t.Fatalf("fill %s: %v, %v", path, err, closeErr)
	}
}
