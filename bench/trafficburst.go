package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// burstSize is half of what Open vSwitch's netdev datapath takes from a device at once. The packet socket that it reads has
// room for several, so nothing is lost: how fast the kernel throws datagrams away says nothing.
const burstSize = 16

// burst is datagrams, so many at once.
type burst struct {
	out, in *net.UDPConn
	buf     []byte
}

func openBurst(ctx context.Context, w *way, addr netip.Addr, size int) (probe, error) {
	in, err := listenUDP(w.to, addr)
	if err != nil {
		return nil, err
	}
	out, err := dialUDP(ctx, w.from, in)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return &burst{out: out, in: in, buf: make([]byte, size)}, nil
}

func listenUDP(in *testutil.NS, addr netip.Addr) (conn *net.UDPConn, err error) {
	err = in.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen at %s in %s: %w", addr, in.Name, err)
	}
	return conn, nil
}

func dialUDP(ctx context.Context, from *testutil.NS, to *net.UDPConn) (*net.UDPConn, error) {
	var conn net.Conn
	err := from.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "udp", to.LocalAddr().String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("udp from %s to %s: %w", from.Name, to.LocalAddr(), err)
	}
	return conn.(*net.UDPConn), nil
}

func (b *burst) once() (time.Duration, error) {
	start := time.Now()
	if err := b.in.SetReadDeadline(start.Add(exchangeTimeout)); err != nil {
		return 0, err
	}
	for range burstSize {
		if _, err := b.out.Write(b.buf); err != nil {
			return 0, fmt.Errorf("send datagram: %w", err)
		}
	}
	for range burstSize {
		_, err := b.in.Read(b.buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errLost
		}
		if err != nil {
			return 0, fmt.Errorf("receive datagram: %w", err)
		}
	}
	return time.Since(start), nil
}

func (b *burst) close() error { return errors.Join(b.out.Close(), b.in.Close()) }
