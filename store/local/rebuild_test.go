package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

func mustContents(t *testing.T, s *Store) string {
	t.Helper()
	text, err := contents(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustWrite(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantRebuilt opens what was rebuilt and compares.
func wantRebuilt(t *testing.T, path, want string) {
	t.Helper()
	s := mustOpen(t, path)
	defer s.Close()
	if got := mustContents(t, s); got != want {
		t.Errorf("rebuilt:\n%.300s\nwant:\n%.300s", got, want)
	}
	if _, err := s.Commit(t.Context(), []store.Guard{store.Absent("after")}, store.Put("after", nil)); err != nil {
		t.Errorf("commit after rebuild: %v", err)
	}
}

func TestRebuild(t *testing.T) {
	page := os.Getpagesize()
	damage := func(change func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, path string) { mustWrite(t, path, change(mustRead(t, path))) }
	}
	wipe := func(from, to int) func(*testing.T, string) {
		return damage(func(b []byte) []byte { clear(b[from:to]); return b })
	}
	for name, spoil := range map[string]func(*testing.T, string){
		"empty":            damage(func([]byte) []byte { return nil }),
		"cut":              damage(func(b []byte) []byte { return b[:len(b)/2] }),
		"first meta gone":  wipe(0, page),
		"second meta gone": wipe(page, 2*page),
		"pages gone":       wipe(3*page, 20*page),
		"text":             damage(func([]byte) []byte { return []byte("this is no store") }),
		"gone": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"older copy": func(t *testing.T, path string) {
			older := mustRead(t, path)
			s := mustOpen(t, path)
			if _, err := s.Commit(t.Context(), nil, store.Put("newer", nil)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, path, older)
		},
		"another program's": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			db, err := bbolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path, last := samplePath(t)
			spoil(t, path)
			if name == "older copy" {
				number := last[strings.LastIndexByte(last, ' ')+1:]
				var rev int
				if _, err := fmt.Sscan(number, &rev); err != nil {
					t.Fatal(err)
				}
				last = fmt.Sprintf("%snewer=@%d %d", strings.TrimSuffix(last, number), rev+1, rev+1)
			}
			var before []byte
			if name != "gone" {
				before = mustRead(t, path)
			}
			_, err := Open(t.Context(), path)
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, errdefs.ErrInvalid) {
				t.Fatalf("open: %v, want ErrDamaged or ErrInvalid", err)
			}
			wantText(t, err, path)
			r, err := Rebuild(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if !r.Whole || r.Torn || len(r.Aside) > 0 != (name != "gone") {
				t.Errorf("rebuilt: %+v", r)
			}
			for _, aside := range r.Aside {
				if !bytes.Equal(mustRead(t, aside), before) {
					t.Error("the damaged file was changed")
				}
			}
			wantRebuilt(t, path, last)
		})
	}
}

// TestRebuildWithoutJournal: one that is damaged too is kept, and not believed.
func TestRebuildWithoutJournal(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"absent":        func([]byte) []byte { return nil },
		"empty":         func([]byte) []byte { return []byte{} },
		"one bit":       func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"cut at a line": func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1] },
		"newer schema":  func(b []byte) []byte { return bytes.Replace(b, []byte(`"schema":1`), []byte(`"schema":2`), 1) },
		"lines swapped": func(b []byte) []byte {
			l := bytes.SplitAfter(b, []byte("\n"))
			l[2], l[3] = l[3], l[2]
			return bytes.Join(l, nil)
		},
		"a line is twice": func(b []byte) []byte { l := bytes.SplitAfter(b, []byte("\n")); l[3] = l[2]; return bytes.Join(l, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := samplePath(t)
			if name == "cut at a line" { // of one that was begun with records
				mustOpen(t, path).Close()
				rewritten(t, path)
			}
			spoilt := spoil(mustRead(t, journalPath(path)))
			if err := os.Remove(journalPath(path)); err != nil {
				t.Fatal(err)
			}
			if spoilt != nil {
				mustWrite(t, journalPath(path), spoilt)
			}
			mustWrite(t, path, []byte("damaged"))
			r, err := Rebuild(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			want := 1
			if spoilt != nil {
				want = 2
				if !bytes.Equal(mustRead(t, r.Aside[0]), spoilt) {
					t.Error("the journal was changed")
				}
			}
			if r.Whole || r.Records != 0 || r.Rev != 0 || len(r.Aside) != want {
				t.Errorf("rebuilt: %+v", r)
			}
			wantRebuilt(t, path, "0")
		})
	}
}

// rewritten begins the journal anew.
func rewritten(t *testing.T, path string) {
	t.Helper()
	s := mustOpen(t, path)
	s.journal.behind = true
	if _, err := s.Commit(t.Context(), nil, store.Put("again", nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRebuildFromTornJournal: the machine died in the middle of the last line.
func TestRebuildFromTornJournal(t *testing.T) {
	for name, tear := range map[string]func(b []byte) []byte{
		"cut":   func(b []byte) []byte { return b[:len(b)-10] },
		"holes": func(b []byte) []byte { clear(b[len(b)-10 : len(b)-1]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := samplePath(t)
			rewritten(t, path)
			s := mustOpen(t, path)
			if got := mustContents(t, s); !strings.HasPrefix(got, "again=") {
				t.Fatal(got)
			}
			last := mustContents(t, s)
			if _, err := s.Commit(t.Context(), nil, store.Put("torn", nil)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mustWrite(t, journalPath(path), tear(mustRead(t, journalPath(path))))
			mustWrite(t, path, nil)
			r, err := Rebuild(t.Context(), path)
			if err != nil || !r.Whole || !r.Torn {
				t.Fatalf("%+v, %v", r, err)
			}
			wantRebuilt(t, path, last)
			wantWholeJournal(t, path)
		})
	}
}

// wantWholeJournal shows that the journal goes on where it was torn.
func wantWholeJournal(t *testing.T, path string) {
	t.Helper()
	s := mustOpen(t, path)
	want := mustContents(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, nil)
	if r, err := Rebuild(t.Context(), path); err != nil || !r.Whole || r.Torn {
		t.Fatalf("second rebuild: %+v, %v", r, err)
	}
	s = mustOpen(t, path)
	defer s.Close()
	if got := mustContents(t, s); got != want {
		t.Errorf("rebuilt %s, want %s", got, want)
	}
}

func TestRebuildIsRefused(t *testing.T) {
	path, _ := samplePath(t)
	s := mustOpen(t, path)
	defer s.Close()
	if _, err := Rebuild(t.Context(), path); !errors.Is(err, errdefs.ErrInUse) {
		t.Errorf("of an open store: %v, want ErrInUse", err)
	}
	dir := t.TempDir()
	if _, err := Rebuild(t.Context(), dir); !errors.Is(err, errdefs.ErrInvalid) {
		t.Errorf("of a directory: %v, want ErrInvalid", err)
	}
	wantFiles(t, path, "sample.db", "sample.db.journal")
}
