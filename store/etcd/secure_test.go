package etcd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
)

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{TLS: true})
	other := testutil.NewCA(t)
	hour := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name   string
		change func(*clientv3.Config)
		says   string // "": it works
	}{
		{"right certificates", func(*clientv3.Config) {}, ""},
		{"wrong CA", func(cfg *clientv3.Config) { cfg.TLS.RootCAs = other.Pool() }, "certificate signed by unknown authority"},
		{"certificate of another CA", func(cfg *clientv3.Config) {
			cfg.TLS.Certificates = []tls.Certificate{other.Issue(t, hour)}
		}, "may not accept the client certificate"},
		{"no certificate", func(cfg *clientv3.Config) { cfg.TLS.Certificates = nil }, "no client certificate is configured"},
		{"expired certificate", func(cfg *clientv3.Config) {
			cfg.TLS.Certificates = []tls.Certificate{cluster.CA.Issue(t, time.Now().Add(-time.Minute))}
		}, "the client certificate expired on 20"},
		{"no TLS", func(cfg *clientv3.Config) {
			cfg.TLS = nil
			cfg.Endpoints = []string{strings.Replace(cfg.Endpoints[0], "https", "http", 1)}
		}, "error reading server preface"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := cluster.Config()
			c.change(&cfg)
			s, err := etcd.New(t.Context(), cfg, etcd.WithTimeout(500*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			defer closeStore(t, s)
			_, err = s.Commit(t.Context(), nil, store.Put("a", nil))
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			wantText(t, err, c.says)
			wantText(t, err, cfg.Endpoints[0])
		})
	}
}

func TestUserAndPassword(t *testing.T) {
	t.Parallel()
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	enableAuth(t, cluster)
	login := func(user, password string) (*etcd.Store, error) {
		cfg := cluster.Config()
		cfg.Username, cfg.Password = user, password
		return etcd.New(t.Context(), cfg)
	}

	s, err := login("node", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	if _, err := s.Commit(t.Context(), nil, store.Put("a", nil)); err != nil {
		t.Errorf("commit as a user who may: %v", err)
	}

	_, err = login("node", "wrong horse")
	if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "horse") {
		t.Errorf("wrong password: got %v, want ErrUnavailable without the password", err)
	}
	wantText(t, err, "user or password")
	wantText(t, err, cluster.Endpoints()[0])

	guest, err := login("guest", "guest's")
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, guest)
	anonymous := newStore(t, cluster)
	defer closeStore(t, anonymous)
	for says, s := range map[string]*etcd.Store{"denies the user": guest, "none is configured": anonymous} {
		for name, err := range calls(t.Context(), s) {
			if name == "grant" {
				continue // of an empty lease needs no permission
			}
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%s: got %v, want ErrUnavailable", name, err)
			}
			wantText(t, err, says)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		for _, err := range s.Watch(ctx, "", 0) {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("watch that is not allowed: got %v, want it to wait", err)
			}
		}
		cancel()
	}

	// Tokens do not outlive the member; the store logs in again, and so does its watch.
	_, from, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	events := follow(t, s, from)
	cluster.Kill(0)
	cluster.Start()
	testutil.Eventually(t, patience, func() error {
		_, err := s.Commit(t.Context(), nil, store.Put("b", nil))
		return err
	})
	if e := events.next(t); e.Key != "b" {
		t.Errorf("watch after the restart saw %+v", e)
	}
}

// enableAuth adds the users node, who may use the default prefix, and guest, who may nothing.
func enableAuth(t *testing.T, cluster *testutil.EtcdCluster) {
	t.Helper()
	client := cluster.Client(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	must(client.UserAdd(ctx, "root", "root's"))
	must(client.UserGrantRole(ctx, "root", "root"))
	must(client.UserAdd(ctx, "guest", "guest's"))
	must(client.UserAdd(ctx, "node", "correct horse"))
	must(client.RoleAdd(ctx, "libcnm"))
	must(client.RoleGrantPermission(ctx, "libcnm", "/libcnm/", clientv3.GetPrefixRangeEnd("/libcnm/"),
		clientv3.PermissionType(clientv3.PermReadWrite)))
	must(client.UserGrantRole(ctx, "node", "libcnm"))
	must(client.AuthEnable(ctx))
}
