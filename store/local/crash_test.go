package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// childEnv makes the test binary a process that commits to the store at this path until it is killed.
const childEnv = "CNM_STORE_CHILD"

// child prints each key once its commit is acknowledged.
func child(path string) int {
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, start, err := s.List(ctx, "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l, err := s.Grant(ctx, time.Minute)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d/%d", start, w, i)
				_, err := s.Commit(ctx, []store.Guard{store.Absent(key)}, store.Put(key, []byte(key)),
					store.Put("twin/"+key, []byte(key)), store.PutLeased("leased/"+key, nil, l))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return 0
}

// startChild starts a child and returns its acknowledged keys as they come.
func startChild(t *testing.T, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// kill ends a child with SIGKILL and returns what it had acknowledged and was not read yet.
func kill(t *testing.T, cmd *exec.Cmd, lines *bufio.Scanner) (rest []string) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("child was not killed but ended: %v", err)
	}
	return rest
}

func TestAcknowledgedCommitsSurviveKill(t *testing.T) {
	path := newPath(t)
	acked := map[string]bool{}
	for round := range 5 {
		cmd, lines := startChild(t, path)
		for range 20 + 37*round {
			if !lines.Scan() {
				t.Fatalf("child ended early: %v", cmd.Wait())
			}
			acked[lines.Text()] = true
		}
		for _, key := range kill(t, cmd, lines) {
			acked[key] = true
		}
		checkAfterCrash(t, path, acked)
	}
}

func checkAfterCrash(t *testing.T, path string, acked map[string]bool) {
	t.Helper()
	s := mustOpen(t, path)
	defer s.Close()
	for key := range acked {
		rec, err := s.Get(t.Context(), key)
		if err != nil || string(rec.Value) != key {
			t.Errorf("acknowledged %s: %q, %v", key, rec.Value, err)
		}
	}
	recs, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]store.Record{}
	for _, r := range recs {
		have[r.Key] = r
	}
	for key, r := range have {
		if len(key) > 7 && key[:7] == "leased/" {
			t.Errorf("leased record %s outlived its process", key)
		}
		if twin, ok := have["twin/"+key]; len(key) > 5 && key[:5] != "twin/" && (!ok || twin.Rev != r.Rev) {
			t.Errorf("half of a commit: %s@%d, twin %t @%d", key, r.Rev, ok, twin.Rev)
		}
	}
	if len(acked) == 0 || len(have) < 2*len(acked) {
		t.Errorf("%d commits acknowledged, %d records", len(acked), len(have))
	}
}

func TestLockedFile(t *testing.T) {
	path := newPath(t)
	cmd, lines := startChild(t, path)
	if !lines.Scan() {
		t.Fatalf("child ended early: %v", cmd.Wait())
	}
	start := time.Now()
	_, err := Open(t.Context(), path)
	if took := time.Since(start); !errors.Is(err, errdefs.ErrInUse) || took < lockTimeout || took > 5*lockTimeout {
		t.Errorf("after %v got %v, want ErrInUse after about %v", took, err, lockTimeout)
	}
	wantText(t, err, path, "another process")

	ctx, cancel := context.WithTimeout(t.Context(), lockTimeout/10)
	defer cancel()
	start = time.Now()
	_, err = Open(ctx, path)
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errdefs.ErrInUse) || took > lockTimeout {
		t.Errorf("after %v got %v, want the context's end", took, err)
	}

	// A process that is just ending is waited for.
	done := make(chan struct{})
	go func() {
		defer close(done)
		kill(t, cmd, lines)
	}()
	s, err := Open(t.Context(), path)
	<-done
	if err != nil {
		t.Fatalf("open while the other process ends: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestManyCreateOneStore(t *testing.T) {
	path := newPath(t)
	var opened, inUse int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), path)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				opened++
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				})
			case errors.Is(err, errdefs.ErrInUse):
				inUse++
			default:
				t.Errorf("open: %v", err)
			}
		})
	}
	wg.Wait()
	if opened != 1 || inUse != 7 {
		t.Errorf("%d opened it and %d found it in use, want 1 and 7", opened, inUse)
	}
	wantFiles(t, path, "test.db", "test.db.journal")
}
