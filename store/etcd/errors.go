package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// call runs one request so that it ends with ctx, with the store, or after the timeout if ctx has no deadline.
func (s *Store) call(ctx context.Context, what string, f func(context.Context) error) error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded): // what came before, of the same caller, has used up the time
		return fmt.Errorf("%s: no time left: %w: %w", what, err, errdefs.ErrUnavailable)
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	if s.ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(s.ctx))
	}
	why := &reason{}
	rpc, cancel := context.WithCancel(context.WithValue(ctx, reasonKey{}, why))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if _, ok := ctx.Deadline(); !ok {
		rpc, cancel = context.WithTimeout(rpc, s.timeout)
		defer cancel()
	}
	if err := f(rpc); err != nil {
		return s.failure(ctx, what, why, err)
	}
	return nil
}

// failure gives an error of the client its class and a text that helps.
func (s *Store) failure(ctx context.Context, what string, why *reason, err error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(s.ctx))
	}
	if classified := classify(err); classified != nil {
		if errors.Is(classified, errdefs.ErrUnavailable) {
			return fmt.Errorf("%s: etcd at %s: %w", what, s.endpoints, classified)
		}
		return fmt.Errorf("%s: %w", what, classified)
	}
	text := err.Error()
	if noted := why.load(); noted != "" {
		text = noted
	}
	text = fmt.Sprintf("etcd at %s: %s%s", s.endpoints, text, s.certificateHint(text))
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w: %w", what, text, ctx.Err(), errdefs.ErrUnavailable)
	}
	if isTimeout(err) {
		text = fmt.Sprintf("no answer in %v: %s", s.timeout, text)
	}
	return fmt.Errorf("%s: %s: %w", what, text, errdefs.ErrUnavailable)
}

// classify knows the answers of etcd that need another class than ErrUnavailable, or another text; nil: it is neither.
func classify(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		return store.ErrCompacted
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return fmt.Errorf("lease has ended: %w", errdefs.ErrNotFound)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("%w; etcd's limits are lower than its defaults: %w", err, errdefs.ErrInvalid)
	case errors.Is(err, clientv3.ErrMutuallyExclusiveCfg):
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalid)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("etcd is full and refuses writes until space is freed and its alarm disarmed: %w", errdefs.ErrUnavailable)
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("etcd does not accept the user or password: %w", errdefs.ErrUnavailable)
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("etcd asks for a user and password and none is configured: %w", errdefs.ErrUnavailable)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("etcd denies the user access to the store's prefix: %w", errdefs.ErrUnavailable)
	default:
		return nil
	}
}

// certificateHint explains a connection that etcd ended: with TLS 1.3 a server that does not accept the client's
// certificate says so only after the client believes that it is connected, and the client often just sees it close.
func (s *Store) certificateHint(text string) string {
	ended := strings.Contains(text, "broken pipe") || strings.Contains(text, "connection reset") ||
		strings.Contains(text, "EOF") || strings.Contains(text, "remote error: tls")
	if s.tls == nil || !ended {
		return ""
	}
	if len(s.tls.Certificates) == 0 && s.tls.GetClientCertificate == nil {
		return " (no client certificate is configured)"
	}
	for _, c := range s.tls.Certificates {
		if leaf := c.Leaf; leaf != nil && time.Now().After(leaf.NotAfter) {
			return fmt.Sprintf(" (the client certificate expired on %s)", leaf.NotAfter.UTC().Format(time.DateTime))
		}
	}
	return " (etcd may not accept the client certificate)"
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded
}

// reason remembers why the last attempt of a call failed. The client itself returns only that time is up, where gRPC
// knows that the connection was refused or which certificate was not accepted.
type reason struct {
	mu   sync.Mutex
	text string
}

type reasonKey struct{}

func (r *reason) load() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text
}

// noteReason is a gRPC interceptor that stores a failed attempt's text in the reason in its context.
func noteReason(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if r, ok := ctx.Value(reasonKey{}).(*reason); ok && err != nil {
		text := shorten(status.Convert(err).Message())
		r.mu.Lock()
		r.text = text
		r.mu.Unlock()
	}
	return err
}

// shorten leaves of gRPC's text what tells the reason.
func shorten(text string) string {
	if _, last, ok := strings.Cut(text, "latest balancer error: "); ok {
		text = last
	}
	return text
}

// pause waits for d, and returns early with why ctx or the store ended.
func (s *Store) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}
