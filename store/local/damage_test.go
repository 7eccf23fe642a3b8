package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not say %q", err, part)
		}
	}
}

// wantFiles fails unless names are all there is next to path.
func wantFiles(t *testing.T, path string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("directory has %q, want %q", got, names)
	}
}

// contents returns all records and the revision as text.
func contents(ctx context.Context, s *Store) (string, error) {
	recs, rev, err := s.List(ctx, "")
	var text strings.Builder
	for _, r := range recs {
		text.WriteString(r.Key + "=" + string(r.Value) + "@" + strconv.FormatInt(int64(r.Rev), 10) + " ")
	}
	return text.String() + strconv.FormatInt(int64(rev), 10), err
}

// sample writes a store with branch pages, overflow pages and free pages, and returns its file and contents.
func sample(t testing.TB) (image []byte, last string) {
	t.Helper()
	path, last := samplePath(t)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image, last
}

// samplePath is sample for those who need the journal too.
func samplePath(t testing.TB) (path, last string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sample.db")
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(ops ...store.Op) {
		if _, err := s.Commit(t.Context(), nil, ops...); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		for j := range 20 {
			commit(store.Put(fmt.Sprintf("dir%d/%d", i, j), bytes.Repeat([]byte{byte(i), byte(j)}, 40)))
		}
	}
	commit(store.Put("large", bytes.Repeat([]byte("0123456789"), 1000)), store.DeletePrefix("dir3/"))
	commit(store.Put("last", []byte("1")))
	if last, err = contents(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path, last
}

func TestDamagedFileIsRefusedAndKept(t *testing.T) {
	image, _ := sample(t)
	page := os.Getpagesize()
	cut := func(n int) []byte { return image[:n] }
	wipe := func(from, to int) []byte {
		data := bytes.Clone(image)
		clear(data[from:to])
		return data
	}
	for name, data := range map[string][]byte{
		"empty":                    {},
		"one byte":                 {0},
		"text":                     []byte(strings.Repeat("this is no store\n", 1000)),
		"zeros":                    make([]byte, len(image)),
		"random":                   random(len(image)),
		"cut inside the first":     cut(100),
		"cut after the first page": cut(page),
		"cut after the metas":      cut(2 * page),
		"cut in the middle":        cut(len(image) / 2 / page * page),
		"cut inside a page":        cut(5*page + 17),
		"both metas gone":          wipe(0, 2*page),
		"first meta gone":          wipe(0, page),
		"second meta gone":         wipe(page, 2*page),
		"pages gone":               wipe(6*page, 12*page),
		"everything but metas":     wipe(2*page, len(image)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), path)
			if s != nil || !errors.Is(err, ErrDamaged) || !errors.Is(err, errdefs.ErrUnavailable) {
				t.Fatalf("got %v, want ErrDamaged and ErrUnavailable", err)
			}
			wantText(t, err, path)
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
				t.Errorf("the file was changed: %v", err)
			}
			wantFiles(t, path, "test.db")
		})
	}
}

func random(n int) []byte {
	data := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{1})
	for i := range data {
		data[i] = byte(rnd.Uint64())
	}
	return data
}

// One wrong bit anywhere either is found or does not matter.
func TestFlippedBitIsFoundOrHarmless(t *testing.T) {
	image, last := sample(t)
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := os.Getpagesize()
	found, harmless := 0, 0
	for at := range image {
		// All of the headers, and some of the rest.
		if at%page >= 64 && at%89 != 0 {
			continue
		}
		bit := byte(1) << rand.IntN(8)
		write := func(b byte) {
			if _, err := f.WriteAt([]byte{b}, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		write(image[at] ^ bit)
		s, err := Open(t.Context(), path)
		if err == nil {
			got, err := contents(t.Context(), s)
			if err != nil || got != last {
				t.Fatalf("bit %#x of byte %d of page %d flipped: opens with other contents: %v", bit, at%page, at/page, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			harmless++
		} else if found++; !errors.Is(err, ErrDamaged) && !errors.Is(err, errdefs.ErrInvalid) && !errors.Is(err, errdefs.ErrUnsupported) {
			t.Fatalf("bit %#x of byte %d of page %d flipped: %v", bit, at%page, at/page, err)
		}
		write(image[at])
	}
	t.Logf("%d pages: %d flips found, %d harmless", len(image)/page, found, harmless)
	if found == 0 || harmless == 0 {
		t.Errorf("%d found and %d harmless: the test does not test", found, harmless)
	}
}

func FuzzOpen(f *testing.F) {
	image, _ := sample(f)
	f.Add(image[:8*os.Getpagesize()], uint32(0), byte(0))
	f.Add(image, uint32(2*os.Getpagesize()+10), byte(1))
	f.Add([]byte("text"), uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint32, bits byte) {
		if len(data) > 1<<20 {
			return
		}
		data = bytes.Clone(data)
		if len(data) > 0 {
			data[int(at)%len(data)] ^= bits
		}
		path := filepath.Join(t.TempDir(), "test.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path)
		if err != nil {
			return
		}
		if _, err := contents(t.Context(), s); err != nil {
			t.Errorf("a file that opens does not list: %v", err)
		}
		if _, err := s.Commit(t.Context(), nil, store.Put("a", nil), store.DeletePrefix("dir1/")); err != nil {
			t.Errorf("a file that opens takes no commit: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// A file that is cut while it is open would kill a process that touches what is gone.
func TestFileCutWhileOpen(t *testing.T) {
	image, _ := sample(t)
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := contents(t.Context(), s)
		if !errors.Is(err, ErrDamaged) || !errors.Is(err, errdefs.ErrUnavailable) {
			t.Errorf("list: got %v, want ErrDamaged", err)
		}
		wantText(t, err, path)
		if _, err := s.Commit(t.Context(), nil, store.Put("a", nil)); !errors.Is(err, ErrDamaged) {
			t.Errorf("commit: got %v, want ErrDamaged", err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrDamaged) {
		t.Errorf("close: got %v, want ErrDamaged", err)
	}
	// It let go of the lock.
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, path).Close(); err != nil {
		t.Error(err)
	}
}

func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	s := mustOpen(t, newer)
	if err := s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(metaBucket).Put(schemaKey, encodeUint(schemaKey, schema+1))
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	db, err := bbolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		newer:              errdefs.ErrUnsupported,
		other:              errdefs.ErrInvalid,
		fifo:               errdefs.ErrInvalid,
		dir:                errdefs.ErrUnavailable,
		other + "/x.db":    errdefs.ErrUnavailable,
		other + "/x/y.db":  errdefs.ErrUnavailable,
		"/proc/none/x/y.d": errdefs.ErrUnavailable,
	} {
		before, readErr := os.ReadFile(newer)
		_, err := Open(t.Context(), path)
		if !errors.Is(err, want) {
			t.Errorf("open %s: got %v, want %v", path, err, want)
		}
		wantText(t, err, path)
		if after, err := os.ReadFile(newer); errors.Join(err, readErr) != nil || !bytes.Equal(before, after) {
			t.Errorf("open %s changed the file", path)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, filepath.Join(dir, "new.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("open with a cancelled context: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new.db")); !os.IsNotExist(err) {
		t.Errorf("open with a cancelled context left a file: %v", err)
	}
}

func TestNewFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "test.db")
	old := unix.Umask(0)
	defer unix.Umask(old)
	s := mustOpen(t, path)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700, filepath.Dir(filepath.Dir(path)): os.ModeDir | 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash in the middle of creation leaves is no obstacle, and goes.
	if err := errors.Join(os.Rename(path, filepath.Join(filepath.Dir(path), ".test.db.new-123")),
		os.Rename(journalPath(path), journalTemp(journalPath(path)))); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, path, "test.db", "test.db.journal")
}
