// Command etcdserver is one member of a real etcd cluster for tests. It lives in a module of its own so that the server's
// dependencies never reach the users of libcnm.
//
// It prints "ready" when the member serves, logs to <dir>/etcd.log, and ends on SIGTERM or when its standard input does,
// which is how a member notices that the test that started it has died.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "etcdserver: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	cfg, err := parse(args)
	if err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go exitWithParent()

	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
		fmt.Fprintln(os.Stdout, "ready")
	case err := <-server.Err():
		return err
	case <-end:
		return errors.New("ended before it was ready")
	}
	select {
	case err := <-server.Err():
		return err
	case <-end:
		return nil
	}
}

// exitWithParent ends the process when standard input ends: the parent never writes, so that is when it has closed the
// pipe or died. Nobody is left to care for an orderly shutdown then.
func exitWithParent() {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		fmt.Fprintf(os.Stderr, "etcdserver: standard input: %v\n", err)
	}
	os.Exit(1)
}

func parse(args []string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	fs := flag.NewFlagSet("etcdserver", flag.ContinueOnError)
	fs.StringVar(&cfg.Name, "name", "", "member name")
	fs.StringVar(&cfg.Dir, "dir", "", "data directory")
	client := fs.String("client", "", "URL for clients")
	peer := fs.String("peer", "", "URL for the other members")
	fs.StringVar(&cfg.InitialCluster, "cluster", "", "name=peer URL of every member, comma separated")
	cert := fs.String("cert", "", "certificate file; with -key and -ca clients and peers need mutual TLS")
	key := fs.String("key", "", "key file")
	ca := fs.String("ca", "", "CA file")
	fs.Int64Var(&cfg.QuotaBackendBytes, "quota", 0, "database size in bytes above which writes are refused; 0: 2 GiB")
	fs.BoolVar(&cfg.UnsafeNoFsync, "no-fsync", false, "never fsync: fast, and good enough when processes die but the machine does not")
	fs.DurationVar(&cfg.WatchProgressNotifyInterval, "progress", time.Minute, "how often an idle watch is told the revision")
	heartbeat := fs.Duration("heartbeat", 100*time.Millisecond, "leader's heartbeat")
	election := fs.Duration("election", time.Second, "election timeout")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if cfg.Name == "" || cfg.Dir == "" || cfg.InitialCluster == "" {
		return nil, errors.New("-name, -dir and -cluster are required")
	}
	clientURL, err := parseURL(*client)
	if err != nil {
		return nil, fmt.Errorf("-client: %w", err)
	}
	peerURL, err := parseURL(*peer)
	if err != nil {
		return nil, fmt.Errorf("-peer: %w", err)
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{clientURL}, []url.URL{clientURL}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
	cfg.TickMs, cfg.ElectionMs = uint(heartbeat.Milliseconds()), uint(election.Milliseconds())
	if *cert != "" {
		cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = *cert, *key
		cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = *ca, true
		cfg.PeerTLSInfo = cfg.ClientTLSInfo
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	cfg.LogLevel = "warn"
	cfg.LogOutputs = []string{filepath.Join(cfg.Dir, "etcd.log")}
	return cfg, nil
}

func parseURL(s string) (url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return url.URL{}, err
	}
	if u.Host == "" {
		return url.URL{}, fmt.Errorf("%q has no host", s)
	}
	return *u, nil
}
