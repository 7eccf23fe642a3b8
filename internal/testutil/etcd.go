package testutil

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// EtcdOptions describes a cluster. The zero value is one member on loopback without TLS.
type EtcdOptions struct {
	Members int  // 0: as many as Addrs, or 1
	TLS     bool // clients and peers need certificates of the cluster's CA
	// Addrs are the members' own addresses, with ports 2379 and 2380; nil: 127.0.0.1 with free ports.
	Addrs []string
	// Wrap changes a member's command before every start, for example to start it in another namespace.
	Wrap     func(member int, cmd *exec.Cmd)
	Fsync    bool          // for tests that are about the machine's death; a killed process loses nothing without
	Quota    int64         // database size in bytes above which etcd refuses writes; 0: etcd's default
	Progress time.Duration // how often an idle watch is told the revision; 0: a minute
}

// EtcdCluster is a running cluster of real etcd processes.
type EtcdCluster struct {
	CA *CA // of a cluster with TLS, for certificates that differ from Config's

	t       TB
	opts    EtcdOptions
	bin     string
	members []*etcdMember
	tls     *tls.Config
}

const (
	// Short, so that tests of a lost leader are; long enough for two busy cores.
	etcdHeartbeat = 100 * time.Millisecond
	etcdElection  = time.Second

	etcdStartTimeout = time.Minute // a full machine builds and tests other packages meanwhile
)

// StartEtcd starts a cluster and waits until it serves. It is stopped when the test ends.
func StartEtcd(t TB, opts EtcdOptions) *EtcdCluster {
	t.Helper()
	if opts.Members == 0 {
		opts.Members = max(1, len(opts.Addrs))
	}
	if len(opts.Addrs) != 0 && len(opts.Addrs) != opts.Members {
		t.Fatalf("start etcd: %d addresses for %d members", len(opts.Addrs), opts.Members)
	}
	if opts.Progress == 0 {
		opts.Progress = time.Minute
	}
	c := &EtcdCluster{t: t, opts: opts, bin: os.Getenv(etcdBinEnv)}
	if c.bin == "" {
		var err error
		if c.bin, err = BuildEtcd(); err != nil {
			t.Fatalf("start etcd: %v", err)
		}
	}
	c.layout()
	t.Cleanup(func() {
		for i := range c.members {
			c.Kill(i)
		}
	})
	c.Start()
	return c
}

// layout decides addresses, directories, certificates and arguments.
func (c *EtcdCluster) layout() {
	scheme := "http"
	if c.opts.TLS {
		scheme = "https"
	}
	var cluster, hosts []string
	for i := range c.opts.Members {
		m := &etcdMember{name: "m" + strconv.Itoa(i), dir: filepath.Join(c.t.TempDir(), "m"+strconv.Itoa(i))}
		host, client, peer := "127.0.0.1", "2379", "2380"
		if c.opts.Addrs != nil {
			host = c.opts.Addrs[i]
		} else {
			client, peer = freePort(c.t), freePort(c.t)
		}
		m.client = scheme + "://" + net.JoinHostPort(host, client)
		m.peer = scheme + "://" + net.JoinHostPort(host, peer)
		cluster = append(cluster, m.name+"="+m.peer)
		hosts = append(hosts, host)
		c.members = append(c.members, m)
	}
	args := []string{"-cluster", strings.Join(cluster, ","), "-heartbeat", etcdHeartbeat.String(), "-election",
		etcdElection.String(), "-progress", c.opts.Progress.String(), "-quota", strconv.FormatInt(c.opts.Quota, 10),
		"-no-fsync=" + strconv.FormatBool(!c.opts.Fsync)}
	if c.opts.TLS {
		c.CA = NewCA(c.t)
		cert := c.CA.Issue(c.t, time.Now().Add(time.Hour), append(hosts, "localhost", "127.0.0.1", "::1")...)
		ca, certFile, keyFile := c.CA.writeFiles(c.t, c.t.TempDir(), cert)
		args = append(args, "-ca", ca, "-cert", certFile, "-key", keyFile)
		c.tls = &tls.Config{
			RootCAs:      c.CA.Pool(),
			Certificates: []tls.Certificate{c.CA.Issue(c.t, time.Now().Add(time.Hour))},
			MinVersion:   tls.VersionTLS12,
		}
	}
	for _, m := range c.members {
		m.args = append([]string{"-name", m.name, "-dir", m.dir, "-client", m.client, "-peer", m.peer}, args...)
	}
}

// Endpoints returns the members' client URLs.
func (c *EtcdCluster) Endpoints() []string {
	var urls []string
	for _, m := range c.members {
		urls = append(urls, m.client)
	}
	return urls
}

// Config returns what a client needs to connect, with the right certificates when the cluster has TLS.
func (c *EtcdCluster) Config() clientv3.Config {
	return clientv3.Config{Endpoints: c.Endpoints(), TLS: c.tls.Clone(), DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
}

// Client returns a new client that is closed when t ends.
func (c *EtcdCluster) Client(t TB) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(c.Config())
	if err != nil {
		t.Fatalf("connect to etcd: %v", err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close etcd client: %v", err)
		}
	})
	return client
}

// Leader waits until the running members agree on a leader and returns its index.
func (c *EtcdCluster) Leader(ctx context.Context, t TB) int {
	t.Helper()
	client := c.Client(t)
	for {
		for i, url := range c.Endpoints() {
			if !c.members[i].running() {
				continue
			}
			call, cancel := context.WithTimeout(ctx, time.Second)
			status, err := client.Status(call, url)
			cancel()
			if err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId {
				return i
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("etcd leader: %v", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort returns a port that nothing listens on, from below the range the kernel takes for outgoing connections: else
// a client that tries to reconnect to a stopped member could be given the member's own port.
func freePort(t TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatalf("find a free port: %v", err)
		}
		return port
	}
	t.Fatalf("find a free port: none of 1000 tried is free")
	return ""
}

// member returns the i-th member or fails the test.
func (c *EtcdCluster) member(i int) *etcdMember {
	if i < 0 || i >= len(c.members) {
		c.t.Fatalf("etcd cluster has no member %d", i)
	}
	return c.members[i]
}
