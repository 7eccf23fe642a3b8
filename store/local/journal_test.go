package local

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

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
	dir := smallDisk(t)
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
