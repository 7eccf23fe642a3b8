package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// lateAnswer is how long an answer may take that is not counted as lost when a sweep ends.
	lateAnswer = time.Second

	// sweepBuffer has room for the answers of a second in which this process does not get to run.
	sweepBuffer = 2 << 20
)

// sweep pings many IPv4 addresses, one after the other, again and again. A testutil.Pinger for each would be a raw socket for
// each, and the kernel gives every answer to all of these.
type sweep struct {
	conn *net.UDPConn // an ICMP socket, which is one of datagrams to package net
	to   []netip.Addr
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex // guards all following fields
	asked  []asked    // by their serial numbers, which packets carry; the i-th is to to[i%len(to)]
	open   int        // those that are not answered
	ending bool       // no more are sent
	err    error      // the first
}

// asked is one ping.
type asked struct {
	at       time.Time
	answered bool
}

// startSweep starts to ping each of the addresses about once in an interval. The test's end stops it too.
func startSweep(t testutil.TB, from *testutil.NS, to []netip.Addr, interval time.Duration) *sweep {
	t.Helper()
	conn, err := openICMP(from)
	if err != nil {
		t.Fatalf("ping from %s: %v", from.Name, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &sweep{conn: conn, to: to, stop: cancel}
	s.done.Go(func() { s.send(ctx, interval/time.Duration(len(to))) })
	s.done.Go(s.receive)
	t.Cleanup(func() {
		s.stop()
		if err := conn.Close(); err != nil {
			t.Errorf("close socket of pings: %v", err)
		}
		s.done.Wait()
	})
	return s
}

// openICMP opens a socket that gets only the answers to what it has sent.
func openICMP(from *testutil.NS) (conn *net.UDPConn, err error) {
	err = from.Do(func() error {
		if err := allowPings(); err != nil {
			return err
		}
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, syscall.IPPROTO_ICMP)
		if err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		f := os.NewFile(uintptr(fd), "icmp")
		defer f.Close()
		packets, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		conn = packets.(*net.UDPConn)
		return conn.SetReadBuffer(sweepBuffer)
	})
	return conn, err
}

// answered returns an error unless each address has answered a ping that was sent at that time or later.
func (s *sweep) answered(since time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := make([]bool, len(s.to))
	for i, a := range s.asked {
		if a.answered && !a.at.Before(since) {
			have[i%len(s.to)] = true
		}
	}
	if i := slices.Index(have, false); i >= 0 {
		return fmt.Errorf("ping %s: no answer to what was sent since %s", s.to[i], since.Format(time.TimeOnly))
	}
	return nil
}

// end stops the pings, gives the answers that are missing some time to come, and returns how many were sent and how many of
// these were not answered. The error is the first that sending or receiving met.
func (s *sweep) end() (sent, lost int, err error) {
	s.stop()
	s.done.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked), s.open, s.err
}

func (s *sweep) send(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for serial := 0; ; serial++ {
		s.mu.Lock()
		s.asked = append(s.asked, asked{at: time.Now()})
		s.open++
		s.mu.Unlock()
		// The kernel fills in the checksum and the socket's identifier.
		packet := binary.BigEndian.AppendUint64([]byte{echo4, echoHeader - 1: 0}, uint64(serial))
		if _, err := s.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(s.to[serial%len(s.to)], 0)); err != nil {
			s.fail(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.finish()
			return
		}
	}
}

// finish says until when answers are waited for.
func (s *sweep) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	deadline := time.Now()
	if s.open > 0 {
		deadline = deadline.Add(lateAnswer)
	}
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		s.lockedFail(err)
	}
}

func (s *sweep) receive() {
	buf := make([]byte, 1<<10)
	for complete := false; !complete; {
		n, err := s.conn.Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				s.fail(err)
			}
			return
		}
		if n < echoHeader+8 {
			continue
		}
		complete = s.note(binary.BigEndian.Uint64(buf[echoHeader:]))
	}
}

// note notes an answer, and tells whether it was the last one.
func (s *sweep) note(serial uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if serial < uint64(len(s.asked)) && !s.asked[serial].answered {
		s.asked[serial].answered = true
		s.open--
	}
	return s.ending && s.open == 0
}

func (s *sweep) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lockedFail(err)
}

func (s *sweep) lockedFail(err error) {
	if s.err == nil {
		s.err = err
	}
}
