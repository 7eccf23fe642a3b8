package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	echo4, echo6 = 8, 128 // ICMP types
	echoHeader   = 8      // bytes, in both families
)

// echo is pings, the next as soon as the last is answered. The other side's kernel answers by itself, and the thread that
// waits does so in the kernel, so there is little in a round trip but the way.
type echo struct {
	fd      int
	request []byte
	reply   []byte
	seq     uint16
}

func openEcho(_ context.Context, w *way, addr netip.Addr, size int) (probe, error) {
	e := &echo{fd: -1, request: make([]byte, echoHeader+size), reply: make([]byte, echoHeader+size)}
	domain, protocol := syscall.AF_INET6, syscall.IPPROTO_ICMPV6
	var to syscall.Sockaddr
	if addr.Is4() {
		domain, protocol, to = syscall.AF_INET, syscall.IPPROTO_ICMP, &syscall.SockaddrInet4{Addr: addr.As4()}
		e.request[0] = echo4
	} else {
		to = &syscall.SockaddrInet6{Addr: addr.As16()}
		e.request[0] = echo6
	}
	err := w.from.Do(func() (err error) {
		if err := allowPings(); err != nil {
			return err
		}
		if e.fd, err = syscall.Socket(domain, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, protocol); err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		timeout := syscall.NsecToTimeval(exchangeTimeout.Nanoseconds())
		if err := syscall.SetsockoptTimeval(e.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout); err != nil {
			return fmt.Errorf("set timeout: %w", err)
		}
		return syscall.Connect(e.fd, to)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ping %s from %s: %w", addr, w.from.Name, err), e.close())
	}
	return e, nil
}

// allowPings allows ICMP sockets in the namespace that the thread is in, to the groups in this range. They get only the answers
// to what they have sent, and have checksums computed for them.
func allowPings() error { return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0) }

// once sends one ping and returns how long the answer took.
func (e *echo) once() (time.Duration, error) {
	e.seq++
	binary.BigEndian.PutUint16(e.request[6:], e.seq)
	start := time.Now()
	if _, err := syscall.Write(e.fd, e.request); err != nil {
		return 0, fmt.Errorf("send ping: %w", err)
	}
	for {
		n, err := syscall.Read(e.fd, e.reply)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, errLost
		case err != nil:
			return 0, fmt.Errorf("wait for the answer to ping %d: %w", e.seq, err)
		case n == len(e.request) && binary.BigEndian.Uint16(e.reply[6:]) == e.seq:
			return time.Since(start), nil
		}
	}
}

func (e *echo) close() error {
	if e.fd < 0 {
		return nil
	}
	return syscall.Close(e.fd)
}
