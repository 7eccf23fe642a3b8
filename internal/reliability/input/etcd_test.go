package input

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// patience is what New is given, enough for etcd to compare a password on a busy machine; one that cannot succeed must use
// no more than a little of overtime.
const (
	patience = 5 * time.Second
	overtime = 3 * time.Second
)

// refusal is an etcd that does not let us in, and what the error must say about it.
type refusal struct {
	name   string
	config clientv3.Config
	says   string // "": it lets us in
}

// TestEtcdThatRefuses: New ends within its context, says which etcd did not let it in and why, tells no secret, and leaves
// the directories as free as they were.
func TestEtcdThatRefuses(t *testing.T) {
	cases := append(byCertificate(t), byUser(t)...)
	underlay := netip.MustParseAddr("192.0.2.1")
	testutil.HomeNS(t).AddAddr(t, "lo", netip.PrefixFrom(underlay, 32))
	t.Cleanup(func() { report.Add(t, report.Figures{Inputs: len(cases)}) })
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			opts := []libcnm.Option{
				libcnm.WithDataDir(filepath.Join(dir, "data")), libcnm.WithRunDir(filepath.Join(dir, "run")),
				libcnm.WithNode(fmt.Sprint("node", i), underlay),
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			begin := time.Now()
			c, err := libcnm.New(ctx, append(opts, libcnm.WithEtcd(tc.config))...)
			if took := time.Since(begin); took > patience+overtime {
				t.Errorf("New took %s, its context was for %s", took, patience)
			}
			if err == nil {
				must(t, c.Close())
			}
			wantRefusal(t, err, tc.says, libcnm.ErrUnavailable, tc.config.Endpoints[0])
			if tc.says == "" {
				return
			}
			if secret := tc.config.Password; secret != "" && strings.Contains(err.Error(), secret) {
				t.Errorf("%q tells the password", err)
			}
			c, err = libcnm.New(t.Context(), opts...)
			must(t, err)
			must(t, c.Close())
		})
	}
}

// byCertificate are the ways in which one side does not like the other's certificate.
func byCertificate(t *testing.T) []refusal {
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{TLS: true})
	stranger := testutil.NewCA(t)
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	with := func(change func(*clientv3.Config)) clientv3.Config {
		cfg := cluster.Config()
		change(&cfg)
		return cfg
	}
	return []refusal{
		{"right certificates", cluster.Config(), ""},
		{"wrong CA", with(func(cfg *clientv3.Config) { cfg.TLS.RootCAs = stranger.Pool() }), "certificate signed by unknown authority"},
		{"client of another CA", with(func(cfg *clientv3.Config) {
			cfg.TLS.Certificates = []tls.Certificate{stranger.Issue(t, future)}
		}), "may not accept the client certificate"},
		{"client without a certificate", with(func(cfg *clientv3.Config) { cfg.TLS.Certificates = nil }), "no client certificate is configured"},
		{"client certificate expired", with(func(cfg *clientv3.Config) {
			cfg.TLS.Certificates = []tls.Certificate{cluster.CA.Issue(t, past)}
		}), "the client certificate expired on 20"},
		{"server certificate expired", with(func(cfg *clientv3.Config) {
			cfg.Endpoints = []string{serveTLS(t, cluster.CA.Issue(t, past, "127.0.0.1"))}
		}), "certificate has expired"},
		{"server of another name", with(func(cfg *clientv3.Config) {
			cfg.Endpoints = []string{serveTLS(t, cluster.CA.Issue(t, future, "192.0.2.99"))}
		}), "certificate is valid for 192.0.2.99, not 127.0.0.1"},
		{"no TLS", with(func(cfg *clientv3.Config) {
			cfg.TLS = nil
			cfg.Endpoints = []string{strings.Replace(cfg.Endpoints[0], "https", "http", 1)}
		}), "error reading server preface"},
		{"nobody there", with(func(cfg *clientv3.Config) { cfg.Endpoints = []string{"https://127.0.0.1:9"} }), "connection refused"},
		{"no such host", with(func(cfg *clientv3.Config) { cfg.Endpoints = []string{"https://etcd.invalid:2379"} }), "etcd.invalid"},
	}
}

// serveTLS is a server that shows cert to whoever connects, and returns its URL.
func serveTLS(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			shake(conn)
		}
	}()
	t.Cleanup(func() {
		must(t, l.Close())
		<-done
	})
	return "https://" + l.Addr().String()
}

// shake shows the certificate and hangs up.
func shake(conn net.Conn) {
	defer conn.Close()
	if tc, ok := conn.(*tls.Conn); ok {
		if err := tc.Handshake(); err != nil {
			return // the client did not like it, as is wanted
		}
	}
}

// byUser are the ways in which etcd does not like the user.
func byUser(t *testing.T) []refusal {
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	client := cluster.Client(t)
	add := func(user string, permission clientv3.PermissionType, prefix string) {
		t.Helper()
		must(t, second(client.UserAdd(t.Context(), user, user+"'s secret")))
		must(t, second(client.RoleAdd(t.Context(), user)))
		must(t, second(client.RoleGrantPermission(t.Context(), user, prefix, clientv3.GetPrefixRangeEnd(prefix), permission)))
		must(t, second(client.UserGrantRole(t.Context(), user, user)))
	}
	read, write := clientv3.PermissionType(clientv3.PermRead), clientv3.PermissionType(clientv3.PermReadWrite)
	must(t, second(client.UserAdd(t.Context(), "root", "root's secret")))
	must(t, second(client.UserGrantRole(t.Context(), "root", "root")))
	add("node", write, "/libcnm/")
	add("reader", read, "/libcnm/")
	add("neighbour", write, "/other/")
	must(t, second(client.AuthEnable(t.Context())))
	as := func(user, password string) clientv3.Config {
		cfg := cluster.Config()
		cfg.Username, cfg.Password = user, password
		return cfg
	}
	return []refusal{
		{"right user", as("node", "node's secret"), ""},
		{"wrong user", as("nobody", "nobody's secret"), "does not accept the user or password"},
		{"wrong password", as("node", "guessed secret"), "does not accept the user or password"},
		{"no user", as("", ""), "asks for a user and password and none is configured"},
		{"user who may only read", as("reader", "reader's secret"), "denies the user access"},
		{"user of another prefix", as("neighbour", "neighbour's secret"), "denies the user access"},
	}
}
