package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

// mortalEnv makes the test binary a process that lives a life, "which moment path", and is killed at the moment of that
// number: before or after one of the steps.
const mortalEnv = "CNM_STORE_MORTAL"

// lives are what a process may die in. It says what it has committed.
var lives = map[string]func(ctx context.Context, path string, say func(string)) error{
	"use": use,
	"rebuild": func(ctx context.Context, path string, say func(string)) error {
		if _, err := Rebuild(ctx, path); err != nil {
			return err
		}
		return use(ctx, path, say)
	},
}

// use opens a store, changes it in every way and closes it.
func use(ctx context.Context, path string, say func(string)) error {
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	_, start, err := s.List(ctx, "")
	if err != nil {
		return err
	}
	l, err := s.Grant(ctx, time.Minute)
	if err != nil {
		return err
	}
	// The second is more than the journal may grow by, so that the third begins it anew.
	for i, size := range []int{10, 1_000_000, 10} {
		key := fmt.Sprintf("%d-%d", start, i)
		_, err := s.Commit(ctx, []store.Guard{store.Absent(key)}, store.Put(key, []byte(key)),
			store.Put("twin/"+key, bytes.Repeat([]byte("x"), size)), store.PutLeased("leased/"+key, nil, l))
		if err != nil {
			return err
		}
		say(key)
	}
	if err := l.Revoke(ctx); err != nil {
		return err
	}
	return s.Close()
}

// mortal is the process.
func mortal(args string) int {
	parts := strings.SplitN(args, " ", 3)
	left, err := strconv.Atoi(parts[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	step.Observe(func(name string, at step.Moment) { // from one goroutine at a time
		if left--; left < 0 {
			fmt.Fprintln(os.Stderr, at, name)
			if err := unix.Kill(unix.Getpid(), unix.SIGKILL); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			select {}
		}
	})
	if err := lives[parts[0]](context.Background(), parts[2], func(key string) { fmt.Println(key) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// die runs a life up to a moment. It returns what was committed, and the moment's name: "" when the life is over before.
func die(t *testing.T, life string, moment int, path string) (acked []string, name string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", mortalEnv, life, moment, path))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	for lines := bufio.NewScanner(&stdout); lines.Scan(); {
		acked = append(acked, lines.Text())
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return acked, ""
	case !errors.As(err, &exit) || exit.Exited():
		t.Fatalf("%s, moment %d: %v: %s", life, moment, err, stderr.String())
	}
	return acked, strings.TrimSpace(stderr.String())
}

// TestDeathAtEveryStep kills a process before and after each step of making, opening, writing, closing and rebuilding a
// store. The next Open finds what was committed, nothing by halves, and leaves no other file.
func TestDeathAtEveryStep(t *testing.T) {
	for _, c := range []struct {
		name, life string
		files      map[string][]byte // that there are before
		acked      []string          // in them
	}{
		{"a new store", "use", nil, nil},
		{"a store after a crash", "use", crashed(t), []string{"early"}},
		{"a damaged store", "rebuild", damaged(t), []string{"early"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kills, died := 0, true
			for moment := 0; died; moment += report.Pick(3, 1) { // an odd number: both sides of steps
				// In memory: a disk forgets nothing of a process that is killed, it only takes time.
				dir := fmt.Sprintf("/run/%s/%d", c.name, moment)
				must(t, os.MkdirAll(dir, 0o700))
				for name, content := range c.files {
					mustWrite(t, filepath.Join(dir, name), content)
				}
				path := filepath.Join(dir, "test.db")
				acked, name := die(t, c.life, moment, path)
				if died = name != ""; died {
					kills++
				}
				if err := checkDead(t.Context(), path, append(acked, c.acked...), c.life == "rebuild"); err != nil {
					t.Errorf("death number %d, %s: %v", moment, name, err)
				}
				must(t, os.RemoveAll(dir))
			}
			if kills < report.Pick(10, 30) {
				t.Errorf("%d kills: there are more steps than that", kills)
			}
			t.Logf("%d kills", kills)
			report.Add(t, report.Figures{Steps: kills, Kills: kills})
		})
	}
}

// crashed is a store whose process died with a lease, in the middle of a line of the journal, and while it made the store.
func crashed(t *testing.T) map[string][]byte {
	t.Helper()
	path := newPath(t)
	s := mustOpen(t, path)
	defer s.Close()
	l, err := s.Grant(t.Context(), time.Minute)
	must(t, err)
	_, err = s.Commit(t.Context(), nil, store.Put("early", []byte("early")), store.Put("twin/early", nil), store.PutLeased("leased/early", nil, l))
	must(t, err)
	journal := mustRead(t, journalPath(path))
	return map[string][]byte{
		"test.db":              mustRead(t, path),
		"test.db.journal":      append(journal, journal[:20]...),
		".test.db.new-123":     []byte("unfinished"),
		".test.db.journal.new": []byte("unfinished"),
	}
}

func damaged(t *testing.T) map[string][]byte {
	t.Helper()
	files := crashed(t)
	files["test.db"] = files["test.db"][:5000]
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkDead looks at what a dead process left, which may be a damaged store only if it was rebuilding one.
func checkDead(ctx context.Context, path string, acked []string, rebuilding bool) (err error) {
	s, err := Open(ctx, path)
	if rebuilding && errors.Is(err, ErrDamaged) {
		if _, err := Rebuild(ctx, path); err != nil {
			return err
		}
		s, err = Open(ctx, path)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	recs, _, err := s.List(ctx, "")
	if err != nil {
		return err
	}
	revs := map[string]store.Rev{}
	for _, r := range recs {
		revs[r.Key] = r.Rev
	}
	for _, key := range acked {
		if revs[key] == 0 {
			err = errors.Join(err, fmt.Errorf("%s was committed and is gone", key))
		}
	}
	for key, rev := range revs {
		switch dir, _, _ := strings.Cut(key, "/"); {
		case dir == "leased":
			err = errors.Join(err, fmt.Errorf("%s outlived its process", key))
		case dir == key && revs["twin/"+key] != rev:
			err = errors.Join(err, fmt.Errorf("%s and its twin are of revisions %d and %d", key, rev, revs["twin/"+key]))
		}
	}
	entries, readErr := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if name := e.Name(); name != "test.db" && name != "test.db.journal" && !strings.Contains(name, ".damaged-") {
			err = errors.Join(err, fmt.Errorf("file %s is left", name))
		}
	}
	_, commitErr := s.Commit(ctx, []store.Guard{store.Absent("after")}, store.Put("after", nil))
	return errors.Join(err, readErr, commitErr)
}
