package testutil

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// lastEcho is how long a stream that is stopped waits for what is on its way: a connection that is dead says nothing.
const lastEcho = 5 * time.Second

// Stream is a TCP connection over which a little is sent at an interval and comes back, to see how long it stands still.
type Stream struct {
	conn   net.Conn
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // guards the following
	last    time.Time  // when something came back
	longest time.Duration
	err     error
}

// StartStream connects from one namespace to an address in another. It ends with the test, if it is not stopped before.
func StartStream(t TB, from, to *NS, addr netip.Addr, interval time.Duration) *Stream {
	t.Helper()
	server := StartEcho(t, to, netip.AddrPortFrom(addr, 0))
	conn, err := from.Dial(t.Context(), server)
	if err != nil {
		t.Fatalf("stream from %s to %s: %v", from.Name, server, err)
	}
	s := &Stream{conn: conn, last: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	s.done.Go(func() { s.write(ctx, interval) })
	s.done.Go(func() { s.read(ctx) })
	t.Cleanup(func() {
		s.end(time.Now())
		if err := conn.Close(); err != nil {
			t.Errorf("close stream: %v", err)
		}
	})
	return s
}

func (s *Stream) write(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	// The echo of what is on its way still comes back before the reader sees the end.
	defer func() {
		if err := s.conn.(*net.TCPConn).CloseWrite(); err != nil {
			s.note(err)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := s.conn.Write(make([]byte, 64)); err != nil {
			s.note(err)
			return
		}
	}
}

func (s *Stream) read(ctx context.Context) {
	buf := make([]byte, 1<<12)
	for {
		_, err := s.conn.Read(buf)
		if errors.Is(err, io.EOF) && ctx.Err() != nil {
			return
		}
		if err != nil {
			s.note(err)
			return
		}
		s.mu.Lock()
		s.longest, s.last = max(s.longest, time.Since(s.last)), time.Now()
		s.mu.Unlock()
	}
}

// note keeps the first error.
func (s *Stream) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// Settle waits until something comes back, for at most the timeout. It returns the longest time in which nothing did since
// Settle was called last, and why the connection broke.
func (s *Stream) Settle(ctx context.Context, timeout time.Duration) (time.Duration, error) {
	start := time.Now()
	err := Wait(ctx, timeout, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err == nil && s.last.Before(start) {
			return errors.New("nothing comes back")
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := max(s.longest, time.Since(s.last))
	s.longest = 0
	return longest, errors.Join(err, s.err)
}

// Stop ends the stream and returns the longest time in which nothing came back since Settle was called last, and why it
// broke.
func (s *Stream) Stop() (time.Duration, error) {
	s.mu.Lock()
	s.longest = max(s.longest, time.Since(s.last))
	s.mu.Unlock()
	s.end(time.Now().Add(lastEcho))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.longest, s.err
}

// end stops sending and waits until the deadline for what is on its way, also to be sent: a dead connection takes nothing.
func (s *Stream) end(deadline time.Time) {
	s.cancel()
	if err := s.conn.SetDeadline(deadline); err != nil {
		s.note(err)
	}
	s.done.Wait()
}
