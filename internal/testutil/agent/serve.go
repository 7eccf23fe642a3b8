package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Handler answers one method. It is called concurrently; ctx ends when the caller gives up or the connection closes.
// The result is sent as JSON.
type Handler func(ctx context.Context, params json.RawMessage) (any, error)

// Handle is a Handler whose parameters are decoded strictly into P. Absent parameters are P's zero value.
func Handle[P, R any](f func(context.Context, P) (R, error)) Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var params P
		if len(raw) > 0 {
			dec := json.NewDecoder(bytes.NewReader(raw))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&params); err != nil {
				return nil, fmt.Errorf("decode parameters: %w: %w", err, errdefs.ErrInvalid)
			}
		}
		return f(ctx, params)
	}
}

// Serve answers requests until in ends or ctx does, then cancels what is in flight and waits for it. The error is nil
// when in ended.
func Serve(ctx context.Context, in io.Reader, out io.Writer, handlers map[string]Handler) error {
	ctx, fail := context.WithCancelCause(ctx)
	s := &server{handlers: handlers, out: out, fail: fail, inFlight: make(map[uint64]context.CancelFunc)}
	defer s.calls.Wait()
	defer fail(context.Canceled)

	lines := make(chan request)
	readErr := make(chan error, 1)
	go func() { // not waited for: a read from standard input cannot be interrupted, and it ends with the process
		readErr <- readRequests(ctx, in, lines)
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-readErr:
			return err
		case req := <-lines:
			s.accept(ctx, req)
		}
	}
}

func readRequests(ctx context.Context, in io.Reader, lines chan<- request) error {
	dec := json.NewDecoder(bufio.NewReader(in))
	for {
		var req request
		err := dec.Decode(&req)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read request: %w", err)
		}
		select {
		case lines <- req:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type server struct {
	handlers map[string]Handler
	fail     context.CancelCauseFunc // ends Serve: nobody can be answered any more
	calls    sync.WaitGroup

	mu       sync.Mutex // guards inFlight
	inFlight map[uint64]context.CancelFunc

	outMu sync.Mutex // one response at a time on out
	out   io.Writer
}

func (s *server) accept(ctx context.Context, req request) {
	if req.Cancel {
		s.mu.Lock()
		cancel := s.inFlight[req.ID]
		s.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return
	}
	callCtx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.inFlight[req.ID] = cancel
	s.mu.Unlock()
	s.calls.Go(func() {
		defer func() {
			cancel()
			s.mu.Lock()
			delete(s.inFlight, req.ID)
			s.mu.Unlock()
		}()
		if err := s.reply(s.call(callCtx, req)); err != nil {
			s.fail(fmt.Errorf("reply to %s: %w", req.Method, err))
		}
	})
}

func (s *server) call(ctx context.Context, req request) response {
	handler, ok := s.handlers[req.Method]
	if !ok {
		err := fmt.Errorf("method %q: %w", req.Method, errdefs.ErrNotFound)
		return response{ID: req.ID, Error: encodeError(err)}
	}
	result, err := handler(ctx, req.Params)
	if err != nil {
		return response{ID: req.ID, Error: encodeError(err)}
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return response{ID: req.ID, Error: encodeError(fmt.Errorf("encode result: %w", err))}
	}
	return response{ID: req.ID, Result: raw}
}

func (s *server) reply(r response) error {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	return json.NewEncoder(s.out).Encode(r)
}
