package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Client calls an agent. It is safe for concurrent use.
type Client struct {
	in   io.WriteCloser
	done chan struct{} // closed when nothing more can be read

	inMu sync.Mutex // one request at a time on in

	mu      sync.Mutex // guards all following fields
	next    uint64
	waiting map[uint64]chan response
	err     error // why nothing more can be read
}

// NewClient speaks to the agent that reads from in and writes to out. The agent's death ends out, which fails the calls
// in flight and all later ones with ErrUnavailable.
func NewClient(in io.WriteCloser, out io.Reader) *Client {
	c := &Client{in: in, done: make(chan struct{}), waiting: make(map[uint64]chan response)}
	go c.read(out)
	return c
}

// Close ends the agent's input, after which Serve returns there.
func (c *Client) Close() error { return c.in.Close() }

// Wait waits until the agent's output has ended and all of it has been handed out.
func (c *Client) Wait() { <-c.done }

// Call runs method with params (nil: none) and decodes its answer into result (nil: dropped). An error of the method is
// an *Error. When ctx ends first, the method's own context ends too and its answer is dropped.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	req := request{Method: method}
	if params != nil {
		raw, err := json.Marshal(params)
		if err != nil {
			return fmt.Errorf("agent: %s: encode parameters: %w: %w", method, err, errdefs.ErrInvalid)
		}
		req.Params = raw
	}
	answer := make(chan response, 1)
	c.mu.Lock()
	c.next++
	req.ID = c.next
	c.waiting[req.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, req.ID)
		c.mu.Unlock()
	}()

	if err := c.send(req); err != nil {
		return fmt.Errorf("agent: %s: %w: %w", method, err, errdefs.ErrUnavailable)
	}
	select {
	case r := <-answer:
		return r.decode(method, result)
	case <-c.done:
		select {
		case r := <-answer: // it arrived just before the end
			return r.decode(method, result)
		default:
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return fmt.Errorf("agent: %s: connection ended: %w: %w", method, c.err, errdefs.ErrUnavailable)
	case <-ctx.Done():
		err := fmt.Errorf("agent: %s: %w", method, ctx.Err())
		if sendErr := c.send(request{ID: req.ID, Cancel: true}); sendErr != nil {
			err = errors.Join(err, sendErr)
		}
		return err
	}
}

func (c *Client) send(req request) error {
	c.inMu.Lock()
	defer c.inMu.Unlock()
	return json.NewEncoder(c.in).Encode(req)
}

func (c *Client) read(out io.Reader) {
	defer close(c.done)
	dec := json.NewDecoder(bufio.NewReader(out))
	for {
		var r response
		err := dec.Decode(&r)
		c.mu.Lock()
		if err != nil {
			c.err = err
			c.mu.Unlock()
			return
		}
		answer := c.waiting[r.ID]
		c.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

func (r response) decode(method string, result any) error {
	if r.Error != nil {
		return r.Error.decode(method)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		return fmt.Errorf("agent: %s: decode result: %w", method, err)
	}
	return nil
}
