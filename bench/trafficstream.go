package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// A probe measures one thing of one way. It is made once and has many turns, so that its connection is at its speed and
// known to whatever is between.
type probe interface {
	// turn measures for about d; what it returns is per second, or the time of each round trip.
	turn(ctx context.Context, d time.Duration) (reading, error)
	close() error
}

// reading is what a turn has shown: a rate, or round trips.
type reading struct {
	rate  float64
	trips []time.Duration
	lost  int // datagrams and pings
}

const (
	// streamBuffer is several times what is on its way at 20 Gbit/s and the 50 µs of a round trip here, and little
	// enough to be gone when the next turn begins.
	streamBuffer = 512 << 10
	streamChunk  = 64 << 10

	// drainTimeout is far above what a buffer needs to get through on a busy machine.
	drainTimeout = 20 * time.Second
)

// stream is one TCP connection; its rate is in bits.
type stream struct {
	out, in  net.Conn
	sent     int64
	received meter
	ended    chan error // of the receiver
}

func openStream(ctx context.Context, w *way, addr netip.Addr, _ int) (probe, error) {
	l, err := w.to.Listen(netip.AddrPortFrom(addr, 0))
	if err != nil {
		return nil, fmt.Errorf("stream to %s: %w", addr, err)
	}
	s := &stream{ended: make(chan error, 1)}
	if s.out, err = w.from.Dial(ctx, l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
		return nil, errors.Join(fmt.Errorf("stream to %s: %w", addr, err), l.Close())
	}
	if s.in, err = l.Accept(); err != nil {
		return nil, errors.Join(fmt.Errorf("stream to %s: %w", addr, err), l.Close(), s.out.Close())
	}
	go s.receive()
	return s, errors.Join(l.Close(), s.out.(*net.TCPConn).SetWriteBuffer(streamBuffer))
}

func (s *stream) receive() {
	buf := make([]byte, streamBuffer)
	for {
		n, err := s.in.Read(buf)
		s.received.add(int64(n))
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			s.ended <- err
			return
		}
	}
}

func (s *stream) turn(ctx context.Context, d time.Duration) (reading, error) {
	if err := s.out.SetWriteDeadline(time.Now().Add(d + drainTimeout)); err != nil {
		return reading{}, err
	}
	chunk := make([]byte, streamChunk)
	rate, err := s.received.rate(d, func(until time.Time) error {
		for time.Now().Before(until) {
			n, err := s.out.Write(chunk)
			s.sent += int64(n)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return reading{}, err
	}
	err = testutil.Wait(ctx, drainTimeout, func() error {
		if got := s.received.total.Load(); got != s.sent {
			return fmt.Errorf("%d of %d bytes have arrived", got, s.sent)
		}
		return nil
	})
	return reading{rate: 8 * rate}, err
}

func (s *stream) close() error {
	return errors.Join(s.out.Close(), <-s.ended, s.in.Close())
}
