package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

type pair struct{ A, B int }

// serve starts an agent in this process and returns a client of it, its input, and what Serve returned.
func serve(t *testing.T, handlers map[string]agent.Handler) (*agent.Client, io.Writer, <-chan error) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := agent.Serve(context.Background(), inR, outW, handlers)
		outW.Close() // as the end of the process would
		ended <- err
	}()
	client := agent.NewClient(inW, outR)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		client.Wait()
	})
	return client, inW, ended
}

var add = agent.Handle(func(_ context.Context, p pair) (int, error) { return p.A + p.B, nil })

func TestCall(t *testing.T) {
	client, _, _ := serve(t, map[string]agent.Handler{
		"add": add,
		"fail": agent.Handle(func(context.Context, struct{}) (struct{}, error) {
			return struct{}{}, fmt.Errorf("address 10.0.0.2: %w: %w", errdefs.ErrInUse, errdefs.ErrConflict)
		}),
		"unencodable": func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil },
	})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			var sum int
			if err := client.Call(t.Context(), "add", pair{i, i}, &sum); err != nil || sum != 2*i {
				t.Errorf("%d+%d = %d, error %v", i, i, sum, err)
			}
		})
	}
	all.Wait()

	tests := []struct {
		method string
		params any
		text   string
		is     []error
		isNot  error
	}{
		{"fail", nil, "agent: fail: address 10.0.0.2: in use: conflict", []error{errdefs.ErrInUse, errdefs.ErrConflict}, errdefs.ErrNotFound},
		{"subtract", nil, `method "subtract"`, []error{errdefs.ErrNotFound}, errdefs.ErrInvalid},
		{"add", map[string]int{"C": 1}, `unknown field "C"`, []error{errdefs.ErrInvalid}, errdefs.ErrNotFound},
		{"add", "three", "decode parameters", []error{errdefs.ErrInvalid}, errdefs.ErrNotFound},
		{"unencodable", nil, "encode result", nil, errdefs.ErrInvalid},
	}
	for _, tt := range tests {
		err := client.Call(t.Context(), tt.method, tt.params, nil)
		if err == nil || !strings.Contains(err.Error(), tt.text) || errors.Is(err, tt.isNot) {
			t.Errorf("%s(%v): %v; want text %q and not %v", tt.method, tt.params, err, tt.text, tt.isNot)
		}
		for _, is := range tt.is {
			if !errors.Is(err, is) {
				t.Errorf("%s(%v): %v is not of class %v", tt.method, tt.params, err, is)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	client, _, _ := serve(t, map[string]agent.Handler{
		"add": add,
		"wait": agent.Handle(func(ctx context.Context, _ struct{}) (struct{}, error) {
			close(started)
			<-ctx.Done()
			close(ended)
			return struct{}{}, ctx.Err()
		}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if err := client.Call(ctx, "wait", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that the caller gave up: %v", err)
	}
	<-ended // the method's context ends too
	if err := client.Call(t.Context(), "add", pair{1, 2}, nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestEnd(t *testing.T) {
	running := make(chan struct{})
	client, _, ended := serve(t, map[string]agent.Handler{
		"wait": agent.Handle(func(ctx context.Context, _ struct{}) (string, error) {
			close(running)
			<-ctx.Done()
			return "cancelled", nil
		}),
	})
	result := make(chan error, 1)
	var answer string
	go func() { result <- client.Call(t.Context(), "wait", nil, &answer) }()
	<-running
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the end of the input is no error, got %v", err)
	}
	if err := <-result; err != nil || answer != "cancelled" {
		t.Errorf("a call in flight at the end: %q, %v; want it cancelled and answered", answer, err)
	}
	if err := client.Call(t.Context(), "wait", nil, nil); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("a call after the end: %v", err)
	}
}

func TestGarbage(t *testing.T) {
	_, in, ended := serve(t, nil)
	if _, err := io.WriteString(in, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "read request") {
		t.Errorf("input that is no request: %v", err)
	}
}
