package local

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

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

// TestJournalFollows commits at random and compares what the journal leads to with what is there.
func TestJournalFollows(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path := newPath(t)
	s := mustOpen(t, path)
	defer func() { s.Close() }()
	for i := range 400 {
		key := func() string { return fmt.Sprintf("d%d/%d", rnd.IntN(4), rnd.IntN(30)) }
		var op store.Op
		switch rnd.IntN(8) {
		case 0:
			op = store.Delete(key())
		case 1:
			op = store.DeletePrefix(fmt.Sprintf("d%d/", rnd.IntN(4)))
		default:
			op = store.Put(key(), bytes.Repeat([]byte{byte(i), '\n'}, rnd.IntN(50)))
		}
		if _, err := s.Commit(t.Context(), nil, op); err != nil {
			t.Fatal(err)
		}
		switch rnd.IntN(20) {
		case 0:
			s.journal.limit = s.journal.size / 2
		case 1:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if rnd.IntN(2) == 0 { // as a crash before it followed
				mustWrite(t, journalPath(path), mustRead(t, journalPath(path))[:s.journal.size/2])
			}
			s = mustOpen(t, path)
		}
		records, scan, err := readJournal(journalPath(path))
		if err != nil {
			t.Fatalf("seed %d, commit %d: %v", seed, i, err)
		}
		want, rev, err := s.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if scan.rev != rev || len(records) != len(want) {
			t.Fatalf("seed %d, commit %d: journal has %d records at %d, store %d at %d", seed, i, len(records), scan.rev, len(want), rev)
		}
		for _, w := range want {
			if r := records[w.Key]; r.Rev != w.Rev || !bytes.Equal(r.Value, w.Value) {
				t.Fatalf("seed %d, commit %d: journal has %+v, store %+v", seed, i, r, w)
			}
		}
	}
}

// TestJournalSurvivesKill: what was acknowledged is in the journal too, and leased records are not rebuilt.
func TestJournalSurvivesKill(t *testing.T) {
	path := newPath(t)
	cmd, lines := startChild(t, path)
	acked := map[string]bool{}
	for range 100 {
		if !lines.Scan() {
			t.Fatalf("child ended early: %v", cmd.Wait())
		}
		acked[lines.Text()] = true
	}
	for _, key := range kill(t, cmd, lines) {
		acked[key] = true
	}
	mustWrite(t, path, nil)
	if _, err := Rebuild(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	checkAfterCrash(t, path, acked)
}

// TestNoRoomForJournal: a commit that was durable succeeded; the next one waits until the journal has caught up.
func TestNoRoomForJournal(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path, filler := filepath.Join(dir, "test.db"), filepath.Join(dir, "filler")
	s := mustOpen(t, path)
	big := make([]byte, 8<<10)
	for i := range 8 { // the file has room for these again, the journal grows
		if _, err := s.Commit(t.Context(), nil, store.Put(fmt.Sprint("a/", i), big)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Commit(t.Context(), nil, store.DeletePrefix("a/")); err != nil {
		t.Fatal(err)
	}
	fill(t, filler)
	put := func() error {
		_, err := s.Commit(t.Context(), nil, store.Put("b", big))
		return err
	}
	if err := put(); err != nil {
		t.Fatalf("a commit for which the file has room: %v", err)
	}
	before := mustContents(t, s)
	if err := put(); !errors.Is(err, errdefs.ErrUnavailable) || !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("commit while the journal is behind: %v", err)
	}
	if after := mustContents(t, s); after != before {
		t.Errorf("a commit that failed changed %s to %s", before, after)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := put(); err != nil {
		t.Fatalf("commit after space was freed: %v", err)
	}
	want := mustContents(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, path, nil)
	if _, err := Rebuild(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	wantRebuilt(t, path, want)
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

func FuzzJournal(f *testing.F) {
	path, _ := samplePath(f)
	f.Add(mustRead(f, journalPath(path)), uint32(0), byte(0))
	f.Add(mustRead(f, journalPath(path)), uint32(700), byte(1))
	f.Add([]byte("text\n"), uint32(0), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, at uint32, bits byte) {
		data = bytes.Clone(data)
		if len(data) > 0 {
			data[int(at)%len(data)] ^= bits
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "test.db")
		mustWrite(t, journalPath(path), data)
		r, err := Rebuild(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path)
		recs, rev, err := s.List(t.Context(), "")
		if err != nil || rev != r.Rev || len(recs) != r.Records {
			t.Errorf("rebuilt %+v, opens with %d records at %d, %v", r, len(recs), rev, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
