package testutil

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pingTimeout is far above any delay on one machine, and short enough for tests that expect no answer.
const pingTimeout = time.Second

// Ping sends one ICMP echo request from a namespace and returns how long the answer took. No answer within a second is
// an error.
func Ping(ctx context.Context, from *NS, to netip.Addr) (time.Duration, error) {
	return ping(ctx, from, to, 64)
}

// PingSize is Ping with an IP packet of size bytes, headers included, that must not be fragmented on its way.
func PingSize(ctx context.Context, from *NS, to netip.Addr, size int) (time.Duration, error) {
	return ping(ctx, from, to, size)
}

func ping(ctx context.Context, from *NS, to netip.Addr, size int) (time.Duration, error) {
	p, err := newPing(from, to, size)
	if err != nil {
		return 0, err
	}
	defer p.conn.Close()
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		// A past deadline wakes the reader.
		_ = p.conn.SetReadDeadline(time.Now()) //nolint:errcheck // it fails on a closed socket, which has no reader
	})
	defer stop()

	start := time.Now()
	if err := p.send(1); err != nil {
		return 0, err
	}
	for {
		seq, err := p.receive()
		switch {
		case os.IsTimeout(err):
			return 0, fmt.Errorf("ping %s from %s: no answer: %w", to, from.Name, ctx.Err())
		case err != nil:
			return 0, fmt.Errorf("ping %s from %s: %w", to, from.Name, err)
		case seq == 1:
			return time.Since(start), nil
		}
	}
}

// pingConn sends echo requests to one address and recognises their answers.
type pingConn struct {
	conn           *net.IPConn
	to             *net.IPAddr
	request, reply byte    // ICMP types
	id             [2]byte // tells this ping's answers from another's, the kernel delivers all
	payload        []byte
}

func newPing(from *NS, to netip.Addr, size int) (*pingConn, error) {
	p := &pingConn{to: &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}, request: 8, reply: 0}
	network, local, header := "ip4:icmp", "0.0.0.0", 20+8
	if to.Is6() {
		p.request, p.reply = 128, 129
		network, local, header = "ip6:ipv6-icmp", "::", 40+8
	}
	if size < header+8 {
		return nil, fmt.Errorf("ping %s: size %d is below %d", to, size, header+8)
	}
	p.payload = make([]byte, size-header)
	if _, err := rand.Read(p.payload[:8]); err != nil {
		return nil, err
	}
	copy(p.id[:], p.payload)
	err := from.Do(func() error {
		conn, err := net.ListenPacket(network, local)
		if err != nil {
			return err
		}
		p.conn = conn.(*net.IPConn)
		return dontFragment(p.conn, to)
	})
	if err != nil {
		return nil, fmt.Errorf("ping %s from %s: open socket: %w", to, from.Name, err)
	}
	return p, nil
}

func dontFragment(conn *net.IPConn, to netip.Addr) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if to.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	var setErr error
	err = raw.Control(func(fd uintptr) { setErr = unix.SetsockoptInt(int(fd), level, option, unix.IP_PMTUDISC_DO) })
	if err != nil {
		return err
	}
	return setErr
}

func (p *pingConn) send(seq uint16) error {
	msg := append([]byte{p.request, 0, 0, 0, p.id[0], p.id[1], 0, 0}, p.payload...)
	binary.BigEndian.PutUint16(msg[6:], seq)
	if p.request == 8 { // the kernel fills in ICMPv6's checksum itself
		binary.BigEndian.PutUint16(msg[2:], checksum(msg))
	}
	if _, err := p.conn.WriteToIP(msg, p.to); err != nil {
		return fmt.Errorf("ping %s: send: %w", p.to, err)
	}
	return nil
}

// receive waits for the next answer to one of this ping's requests.
func (p *pingConn) receive() (seq uint16, err error) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := p.conn.ReadFromIP(buf)
		if err != nil {
			return 0, err
		}
		msg := buf[:n]
		if n >= 16 && msg[0] == p.reply && bytes.Equal(msg[4:6], p.id[:]) && bytes.Equal(msg[8:16], p.payload[:8]) {
			return binary.BigEndian.Uint16(msg[6:]), nil
		}
	}
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// PingStats is what a Pinger has seen.
type PingStats struct {
	Sent, Received int
	Unsent         int           // of Sent: the namespace refused to send them
	Longest        time.Duration // between two answers, or between one and the end
}

func (s PingStats) String() string {
	return fmt.Sprintf("%d of %d answered, longest silence %v", s.Received, s.Sent, s.Longest.Round(time.Millisecond))
}

// Pinger pings at a fixed interval until it is stopped, to see what an event does to the traffic.
type Pinger struct {
	ping *pingConn
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex // guards all following fields
	stats PingStats
	lap   time.Duration // longest silence since the last Lap
	last  time.Time     // of the last answer, or the start
	ended time.Time     // when Stop was called
	err   error
}

// StartPinger starts to ping. The test's end stops it too.
func StartPinger(t TB, from *NS, to netip.Addr, interval time.Duration) *Pinger {
	t.Helper()
	conn, err := newPing(from, to, 64)
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := &Pinger{ping: conn, stop: cancel, last: time.Now()}
	p.done.Go(func() { p.send(ctx, interval) })
	p.done.Go(p.receive)
	t.Cleanup(func() {
		_, _ = p.Stop() //nolint:errcheck // whoever cares has called it
	})
	return p
}

// Stats returns what has been seen so far.
func (p *Pinger) Stats() PingStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Longest = max(s.Longest, time.Since(p.last))
	return s
}

// Lap returns the longest silence since the last Lap, or the start.
func (p *Pinger) Lap() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := max(p.lap, time.Since(p.last))
	p.lap = 0
	return longest
}

// Stop ends the pings, waits up to a second for answers on their way and returns what was seen. The error is the first that
// sending met, such as a route that went away; the requests that could not be sent count as sent.
func (p *Pinger) Stop() (PingStats, error) {
	p.stop()
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats, p.err
}

func (p *Pinger) send(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for seq := uint16(1); ; seq++ {
		err := p.ping.send(seq)
		p.mu.Lock()
		p.stats.Sent++
		if err != nil {
			p.stats.Unsent++
			p.lockedFail(err)
		}
		p.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.finish()
			return
		}
	}
}

// finish gives the answers that are missing some time to come.
func (p *Pinger) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = time.Now()
	deadline := p.ended
	if p.stats.Received < p.stats.Sent {
		deadline = deadline.Add(pingTimeout)
	}
	if err := p.ping.conn.SetReadDeadline(deadline); err != nil {
		p.lockedFail(err)
	}
}

func (p *Pinger) receive() {
	for {
		_, err := p.ping.receive()
		now := time.Now()
		p.mu.Lock()
		if err != nil && !p.ended.IsZero() {
			now = p.ended
		}
		p.stats.Longest = max(p.stats.Longest, now.Sub(p.last))
		p.lap = max(p.lap, now.Sub(p.last))
		if err == nil {
			p.stats.Received++
			p.last = now
		}
		if err == nil && !p.ended.IsZero() && p.stats.Received >= p.stats.Sent {
			err = p.ping.conn.SetReadDeadline(now) // nothing more can come
		}
		p.mu.Unlock()
		if err != nil {
			if closeErr := p.ping.conn.Close(); closeErr != nil || !os.IsTimeout(err) {
				p.fail(err)
			}
			return
		}
	}
}

func (p *Pinger) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lockedFail(err)
}

func (p *Pinger) lockedFail(err error) {
	if p.err == nil {
		p.err = err
	}
}
