package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// A probe measures one thing of one way. One thread sends and receives, so that how fast the scheduler wakes another is no
// part of what is measured.
type probe interface {
	// once returns how long one exchange takes; errLost when what was sent has not arrived.
	once() (time.Duration, error)
	close() error
}

var errLost = errors.New("what was sent has not arrived")

const (
	// streamChunk is what is written before it is read again: the largest segment that the kernel makes. Twice as much is more
	// than the sockets hold from which Open vSwitch in user space reads a tunnel, and its end is sent again 200 ms later.
	streamChunk = 64 << 10
	// streamBuffer takes more than a chunk with the kernel's overhead, so that writing never waits for reading.
	streamBuffer = 4 * streamChunk

	// exchangeTimeout is far above what an exchange takes on a busy machine; what has not come by then never will.
	exchangeTimeout = 2 * time.Second
)

// stream is one TCP connection, for one turn: one that has lost packets at its beginning stays at half of what it could do,
// for good, although its windows have room.
type stream struct {
	out, in net.Conn
	buf     []byte
}

func openStream(ctx context.Context, w *way, addr netip.Addr, size int) (probe, error) {
	l, err := w.to.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return nil, fmt.Errorf("stream to %s: %w", addr, err)
	}
	s := &stream{buf: make([]byte, size)}
	if s.out, err = w.from.Dial(ctx, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		return nil, errors.Join(fmt.Errorf("stream to %s: %w", addr, err), l.Close())
	}
	if s.in, err = l.Accept(); err != nil {
		return nil, errors.Join(fmt.Errorf("stream to %s: %w", addr, err), l.Close(), s.out.Close())
	}
	return s, errors.Join(l.Close(), s.out.(*net.TCPConn).SetWriteBuffer(streamBuffer))
}

func (s *stream) once() (time.Duration, error) {
	start := time.Now()
	if err := errors.Join(s.out.SetDeadline(start.Add(exchangeTimeout)), s.in.SetDeadline(start.Add(exchangeTimeout))); err != nil {
		return 0, err
	}
	if _, err := s.out.Write(s.buf); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(s.in, s.buf); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

func (s *stream) close() error { return errors.Join(s.out.Close(), s.in.Close()) }
