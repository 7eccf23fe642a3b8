package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
)

const patience = 30 * time.Second

// nobody listens there: the port is the discard service's, in a namespace of our own.
var nobody = clientv3.Config{Endpoints: []string{"http://127.0.0.1:9", "http://[::1]:9"}}

func closeStore(t *testing.T, s *etcd.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not say %q", err, part)
		}
	}
}

// calls makes each call that needs etcd, at once, and returns the errors by name.
func calls(ctx context.Context, s *etcd.Store) map[string]error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	errs := map[string]error{}
	for name, call := range map[string]func() error{
		"get":    func() error { _, err := s.Get(ctx, "a"); return err },
		"list":   func() error { _, _, err := s.List(ctx, ""); return err },
		"commit": func() error { _, err := s.Commit(ctx, nil, store.Put("a", nil)); return err },
		"grant":  func() error { _, err := s.Grant(ctx, time.Minute); return err },
	} {
		wg.Go(func() {
			err := call()
			mu.Lock()
			defer mu.Unlock()
			errs[name] = err
		})
	}
	wg.Wait()
	return errs
}

func TestCallsFailFastWithoutEtcd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		opts     []etcd.Option
		deadline time.Duration // of the context; 0: none
		took     time.Duration
	}{
		{name: "default timeout", took: 5 * time.Second},
		{name: "short timeout", opts: []etcd.Option{etcd.WithTimeout(300 * time.Millisecond)}, took: 300 * time.Millisecond},
		{name: "the context's deadline counts", deadline: 500 * time.Millisecond, took: 500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := etcd.New(t.Context(), nobody, c.opts...)
			if err != nil {
				t.Fatalf("new while etcd is away: %v", err)
			}
			defer closeStore(t, s)
			ctx := t.Context()
			if c.deadline != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.deadline)
				defer cancel()
			}
			start := time.Now()
			for name, err := range calls(ctx, s) {
				if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) != (c.deadline != 0) {
					t.Errorf("%s: got %v", name, err)
				}
				wantText(t, err, "connection refused")
			}
			if took := time.Since(start); took < c.took || took > c.took+5*time.Second {
				t.Errorf("calls took %v, want %v", took, c.took)
			}
		})
	}
}

// TestCallsWithoutTime: whoever has used up the time waiting for etcd in one call is told the same by the next.
func TestCallsWithoutTime(t *testing.T) {
	s, err := etcd.New(t.Context(), nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	for name, err := range calls(ctx, s) {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want ErrUnavailable and the deadline's end", name, err)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  clientv3.Config
		opts []etcd.Option
	}{
		"no endpoints":        {},
		"token and user":      {cfg: clientv3.Config{Endpoints: nobody.Endpoints, Username: "u", Password: "secret", Token: "t"}},
		"prefix of no form":   {nobody, []etcd.Option{etcd.WithPrefix("libcnm")}},
		"empty prefix":        {nobody, []etcd.Option{etcd.WithPrefix("")}},
		"prefix with NUL":     {nobody, []etcd.Option{etcd.WithPrefix("/a\x00/")}},
		"no time at all":      {nobody, []etcd.Option{etcd.WithTimeout(0)}},
		"logger that is none": {nobody, []etcd.Option{etcd.WithLogger(nil)}},
	} {
		if _, err := etcd.New(t.Context(), c.cfg, c.opts...); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", name, err)
		}
	}
	if _, err := etcd.FromClient(nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no client: got %v, want ErrInvalid", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := etcd.New(ctx, nobody); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: got %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := etcd.New(ctx, clientv3.Config{Endpoints: nobody.Endpoints, Username: "u", Password: "secret"})
	if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, store.ErrUnavailable) || took > 3*time.Second {
		t.Errorf("login while etcd is away: after %v got %v", took, err)
	}
}

// The contexts of New and of the calls are not the store's: it works after they end.
func TestNewsContextIsNotTheStores(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := etcd.New(ctx, cluster.Config())
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	if _, err := s.Commit(t.Context(), nil, store.Put("a", nil)); err != nil {
		t.Error(err)
	}
}

func TestOutcomeOfBrokenCommitCanBeFound(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	p := newProxy(t, cluster.Endpoints()[0])
	s, err := etcd.New(t.Context(), clientv3.Config{Endpoints: []string{p.endpoint()}}, etcd.WithTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	direct := newStore(t, cluster)
	defer closeStore(t, direct)

	// Timeout, cancellation and a broken connection, each after etcd has the transaction.
	for name, end := range map[string]func(cancel context.CancelFunc){
		"timeout":           func(context.CancelFunc) {},
		"cancel":            func(cancel context.CancelFunc) { cancel() },
		"broken connection": func(context.CancelFunc) { p.set(true, true) },
	} {
		t.Run(name, func(t *testing.T) {
			key := "claim/" + strings.ReplaceAll(name, " ", "-")
			claim := func(ctx context.Context) error {
				_, err := s.Commit(ctx, []store.Guard{store.Absent(key)}, store.Put(key, []byte("mine")))
				return err
			}
			p.set(false, false)
			testutil.Eventually(t, patience, func() error { _, _, err := s.List(t.Context(), ""); return err })
			p.set(true, false)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			errc := make(chan error)
			go func() { errc <- claim(ctx) }()
			testutil.Eventually(t, patience, func() error { _, err := direct.Get(t.Context(), key); return err })
			end(cancel)
			err := <-errc
			if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.Canceled) != (name == "cancel") {
				t.Errorf("commit without an answer: got %v, want ErrUnavailable", err)
			}
			p.set(false, false)
			testutil.Eventually(t, patience, func() error {
				if err := claim(t.Context()); !errors.Is(err, store.ErrConflict) {
					return fmt.Errorf("commit again: got %w, want ErrConflict", err)
				}
				return nil
			})
			if r, err := s.Get(t.Context(), key); err != nil || string(r.Value) != "mine" {
				t.Errorf("the key holds %q, %v", r.Value, err)
			}
		})
	}
}

func TestFullEtcd(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{Quota: 4 << 20})
	s := newStore(t, cluster)
	defer closeStore(t, s)
	// Etcd learns its size only now and then, so it takes more than the quota before it is full.
	var err error
	for range 200 {
		if _, err = s.Commit(t.Context(), nil, store.Put("big", make([]byte, 500<<10))); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("commit to a full etcd: got %v, want ErrUnavailable", err)
	}
	wantText(t, err, "etcd is full")
	r, err := s.Get(t.Context(), "big")
	if err != nil {
		t.Fatalf("read from a full etcd: %v", err)
	}
	// What an operator does.
	client := cluster.Client(t)
	if _, err := client.Compact(t.Context(), int64(r.Rev)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Defragment(t.Context(), cluster.Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, patience, func() error {
		_, err := s.Commit(t.Context(), nil, store.Put("big", nil))
		return err
	})
}

func TestPrefixesAreApart(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	client := cluster.Client(t)
	a, b := newStore(t, cluster, etcd.WithPrefix("/a/")), newStore(t, cluster)
	defer closeStore(t, a)
	shared, err := etcd.FromClient(client, etcd.WithPrefix("/c/"))
	if err != nil {
		t.Fatal(err)
	}
	stores := map[string]*etcd.Store{"/a/": a, "/libcnm/": b, "/c/": shared}
	for prefix, s := range stores {
		if _, err := s.Commit(t.Context(), []store.Guard{store.Absent("x/y"), store.AbsentPrefix("x/")}, store.Put("x/y", []byte(prefix))); err != nil {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	for prefix := range stores {
		if resp, err := client.Get(t.Context(), prefix+"x/y"); err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != prefix {
			t.Errorf("etcd has %v, %v at %sx/y", resp.Kvs, err, prefix)
		}
	}
	if _, err := a.Commit(t.Context(), nil, store.DeletePrefix("x/")); err != nil {
		t.Fatal(err)
	}
	for prefix, s := range stores {
		recs, _, err := s.List(t.Context(), "")
		if want := map[bool]int{true: 0, false: 1}[s == a]; err != nil || len(recs) != want {
			t.Errorf("%s has %v, %v, want %d records", prefix, recs, err, want)
		}
	}
	closeStore(t, b)
	// A client that was given is not closed.
	closeStore(t, shared)
	if _, err := shared.Get(t.Context(), "x/y"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("get after close: %v", err)
	}
	if _, err := client.Get(t.Context(), "/c/x/y"); err != nil {
		t.Errorf("the client after the store's close: %v", err)
	}
}
