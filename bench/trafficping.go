package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	echo4, echo6 = 8, 128 // ICMP types
	echoHeader   = 8      // bytes, in both families
)

// echo is pings, the next as soon as the last is answered, one each way in turn. The other side's kernel answers by itself, and
// the thread that waits does so in the kernel, so there is little in a round trip but the way.
//
// Both ways, because ovs-vswitchd on the netdev datapath looks at its ports one after the other: where the one who answers comes
// after the one who asks, the answer goes on in the same round, and what the one has won the other has lost. From host to host it
// is each host's order that counts, and the other way does not make up for it.
type echo struct {
	ends [2]echoEnd
}

// echoEnd is one who asks.
type echoEnd struct {
	fd      int
	request []byte
	reply   []byte
	seq     uint16
}

func openEcho(_ context.Context, w *way, addr netip.Addr, size int) (probe, error) {
	source := w.sources[slices.IndexFunc(w.sources, func(a netip.Addr) bool { return a.Is4() == addr.Is4() })]
	there, err := openEnd(w.from, addr, size)
	if err != nil {
		return nil, err
	}
	back, err := openEnd(w.to, source, size)
	if err != nil {
		return nil, errors.Join(err, there.close())
	}
	return &echo{[2]echoEnd{there, back}}, nil
}

func openEnd(from *testutil.NS, addr netip.Addr, size int) (echoEnd, error) {
	e := echoEnd{fd: -1, request: make([]byte, echoHeader+size), reply: make([]byte, echoHeader+size)}
	domain, protocol := syscall.AF_INET6, syscall.IPPROTO_ICMPV6
	var to syscall.Sockaddr
	if addr.Is4() {
		domain, protocol, to = syscall.AF_INET, syscall.IPPROTO_ICMP, &syscall.SockaddrInet4{Addr: addr.As4()}
		e.request[0] = echo4
	} else {
		to = &syscall.SockaddrInet6{Addr: addr.As16()}
		e.request[0] = echo6
	}
	err := from.Do(func() (err error) {
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
		return echoEnd{}, errors.Join(fmt.Errorf("ping %s from %s: %w", addr, from.Name, err), e.close())
	}
	return e, nil
}

// allowPings allows ICMP sockets in the namespace that the thread is in, to the groups in this range. They get only the answers
// to what they have sent, and have checksums computed for them.
func allowPings() error { return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0) }

// once sends one ping each way and returns how long an answer took, the mean.
func (e *echo) once() (time.Duration, error) {
	var sum time.Duration
	for i := range e.ends {
		trip, err := e.ends[i].once()
		if err != nil {
			return 0, err
		}
		sum += trip
	}
	return sum / time.Duration(len(e.ends)), nil
}

func (e *echo) close() error { return errors.Join(e.ends[0].close(), e.ends[1].close()) }

func (e *echoEnd) once() (time.Duration, error) {
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

func (e *echoEnd) close() error {
	if e.fd < 0 {
		return nil
	}
	return syscall.Close(e.fd)
}
