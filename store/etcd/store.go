package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

const (
	defaultPrefix  = "/libcnm/"
	defaultTimeout = 5 * time.Second

	// gRPC pings no more often than every 10 s; a write that is not acknowledged is noticed after keepAliveTimeout.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second

	// gRPC's default waits up to two minutes between attempts to connect, which is how long a cluster would seem to be
	// away after it has returned.
	reconnectDelay    = 100 * time.Millisecond
	reconnectMaxDelay = 2 * time.Second
	connectTimeout    = 3 * time.Second
)

// Store implements store.Store and store.Leaser.
type Store struct {
	client  *clientv3.Client
	owned   bool // Close closes client
	prefix  string
	timeout time.Duration
	log     *slog.Logger
	// For the text of errors: of the configuration.
	tls       *tls.Config
	endpoints string

	// ctx ends when Close begins; its cause is then ErrClosed.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu     sync.Mutex // guards what follows
	closed bool
	wg     sync.WaitGroup // one for each lease; added to only while closed is false
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Leaser = (*Store)(nil)
)

// Option adjusts a Store.
type Option func(*Store)

// WithPrefix sets what every key begins with in etcd; it ends in a slash. Stores with different prefixes, of which none
// begins with another, share an etcd without seeing each other. The default is "/libcnm/".
func WithPrefix(prefix string) Option { return func(s *Store) { s.prefix = prefix } }

// WithTimeout bounds calls whose context has no deadline. The default is five seconds.
func WithTimeout(d time.Duration) Option { return func(s *Store) { s.timeout = d } }

// WithLogger sets where interruptions of watches are logged. The default is nowhere.
func WithLogger(log *slog.Logger) Option { return func(s *Store) { s.log = log } }

// New returns a store in the etcd that cfg describes. It returns ErrInvalid for a configuration that cannot work and,
// with a user and password, ErrUnavailable when etcd does not accept them in time.
func New(ctx context.Context, cfg clientv3.Config, opts ...Option) (*Store, error) {
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	s.owned = true
	s.client, err = s.connect(ctx, cfg)
	if err != nil {
		s.cancel(err)
		return nil, err
	}
	return s, nil
}

// FromClient returns a store that uses client and does not close it. Its errors say less about why etcd is away.
func FromClient(client *clientv3.Client, opts ...Option) (*Store, error) {
	if client == nil {
		return nil, fmt.Errorf("etcd store: no client: %w", errdefs.ErrInvalid)
	}
	s, err := newStore(opts)
	if err != nil {
		return nil, err
	}
	s.client, s.endpoints = client, join(client.Endpoints())
	return s, nil
}

// join lists endpoints in a text that a log can carry.
func join(endpoints []string) string {
	text := strings.Join(endpoints, ",")
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return strconv.Quote(text)
	}
	return text
}

func newStore(opts []Option) (*Store, error) {
	s := &Store{prefix: defaultPrefix, timeout: defaultTimeout, log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(s)
	}
	switch {
	case !strings.HasSuffix(s.prefix, "/") || strings.ContainsRune(s.prefix, 0):
		return nil, fmt.Errorf("etcd store: prefix %q: must end in a slash: %w", s.prefix, errdefs.ErrInvalid)
	case s.timeout <= 0:
		return nil, fmt.Errorf("etcd store: timeout %v: must be positive: %w", s.timeout, errdefs.ErrInvalid)
	case s.log == nil:
		return nil, fmt.Errorf("etcd store: no logger: %w", errdefs.ErrInvalid)
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// connect makes the client. Only logging in waits for etcd.
func (s *Store) connect(ctx context.Context, cfg clientv3.Config) (*clientv3.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("etcd store: %w", err)
	}
	if len(cfg.Endpoints) == 0 {
		return nil, fmt.Errorf("etcd store: no endpoints: %w", errdefs.ErrInvalid)
	}
	if cfg.Logger == nil && cfg.LogConfig == nil {
		cfg.Logger = zap.NewNop() // the client would print to standard error
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = s.timeout
	}
	if cfg.DialKeepAliveTime == 0 {
		cfg.DialKeepAliveTime, cfg.DialKeepAliveTimeout = keepAliveTime, keepAliveTimeout
	}
	s.tls, s.endpoints = cfg.TLS, join(cfg.Endpoints)
	cfg.DialOptions = append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: reconnectDelay, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectMaxDelay},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithChainUnaryInterceptor(noteReason),
	}, cfg.DialOptions...)

	// The client lives as long as its context, New's callers' must not end it later.
	base := cfg.Context
	if base == nil {
		base = context.WithoutCancel(ctx)
	}
	base, cancel := context.WithCancel(base)
	why := &reason{}
	cfg.Context = context.WithValue(base, reasonKey{}, why)
	stop := context.AfterFunc(ctx, cancel)
	client, err := clientv3.New(cfg)
	if !stop() && err == nil {
		err = errors.Join(ctx.Err(), client.Close())
	}
	if err != nil {
		cancel()
		return nil, s.failure(ctx, "log in", why, err)
	}
	context.AfterFunc(s.ctx, cancel)
	return client, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	if err := store.CheckKey(key); err != nil {
		return store.Record{}, err
	}
	var resp *clientv3.GetResponse
	err := s.call(ctx, "get "+key, func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, s.prefix+key)
		return err
	})
	if err != nil {
		return store.Record{}, err
	}
	if len(resp.Kvs) == 0 {
		return store.Record{}, fmt.Errorf("get %s: %w", key, errdefs.ErrNotFound)
	}
	return s.record(resp.Kvs[0]), nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Record, store.Rev, error) {
	if err := store.CheckPrefix(prefix); err != nil {
		return nil, 0, err
	}
	var resp *clientv3.GetResponse
	err := s.call(ctx, fmt.Sprintf("list %q", prefix), func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, s.prefix+prefix, clientv3.WithPrefix())
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	recs := make([]store.Record, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		recs[i] = s.record(kv)
	}
	return recs, store.Rev(resp.Header.Revision), nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("close etcd store: %w", errdefs.ErrClosed)
	}
	s.closed = true
	s.mu.Unlock()

	s.cancel(errdefs.ErrClosed)
	s.wg.Wait()
	var err error
	if s.owned {
		// A client whose context has ended reports that as an error of its Close.
		if closeErr := s.client.Close(); !errors.Is(closeErr, context.Canceled) {
			err = errors.Join(err, closeErr)
		}
	}
	if err != nil {
		return fmt.Errorf("close etcd store: %w", err)
	}
	return nil
}
