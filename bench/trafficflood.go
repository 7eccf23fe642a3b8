package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	// floodWindow is how many datagrams may be on their way: what the packet sockets that Open vSwitch's netdev datapath
	// reads hold of the largest, 212,992 bytes at about 2,300 each with the kernel's overhead, with some to spare. More
	// would measure how fast the kernel throws datagrams away.
	floodWindow = 64
	floodBurst  = 16

	// floodStall is how long nothing arrives until what is on its way counts as lost.
	floodStall = 20 * time.Millisecond
)

// flood is datagrams as fast as they get through; its rate is in datagrams.
type flood struct {
	out, in  *net.UDPConn
	payload  []byte
	sent     int64 // less those lost
	lost     int64
	received meter
	progress chan struct{} // has something when a burst has arrived
	ended    chan error    // of the receiver
}

func openFlood(ctx context.Context, w *way, addr netip.Addr, size int) (probe, error) {
	in, err := listenUDP(w.to, addr)
	if err != nil {
		return nil, err
	}
	out, err := dialUDP(ctx, w.from, in)
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	f := &flood{out: out, in: in, payload: make([]byte, size), progress: make(chan struct{}, 1), ended: make(chan error, 1)}
	go f.receive()
	return f, nil
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

func (f *flood) receive() {
	buf := make([]byte, len(f.payload))
	for {
		_, err := f.in.Read(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				err = nil
			}
			f.ended <- err
			return
		}
		if f.received.add(1)%floodBurst == 0 {
			select {
			case f.progress <- struct{}{}:
			default: // the sender has not seen the last one yet
			}
		}
	}
}

func (f *flood) turn(ctx context.Context, d time.Duration) (reading, error) {
	stalled := time.NewTimer(floodStall)
	defer stalled.Stop()
	rate, err := f.received.rate(d, func(until time.Time) error {
		for time.Now().Before(until) {
			if err := f.room(ctx, stalled, floodWindow-floodBurst); err != nil {
				return err
			}
			for range floodBurst {
				if _, err := f.out.Write(f.payload); err != nil {
					return err
				}
			}
			f.sent += floodBurst
		}
		return nil
	})
	if err != nil {
		return reading{}, err
	}
	err = f.room(ctx, stalled, 0)
	lost := int(f.lost)
	f.lost = 0
	return reading{rate: rate, lost: lost}, err
}

// room waits until at most so many datagrams are on their way.
func (f *flood) room(ctx context.Context, stalled *time.Timer, most int64) error {
	for {
		arrived := f.received.total.Load()
		if f.sent-arrived <= most {
			return nil
		}
		stalled.Reset(floodStall)
		select {
		case <-f.progress:
		case <-stalled.C:
			if now := f.received.total.Load(); now == arrived {
				f.lost += f.sent - now
				f.sent = now
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *flood) close() error {
	return errors.Join(f.out.Close(), f.in.Close(), <-f.ended)
}
