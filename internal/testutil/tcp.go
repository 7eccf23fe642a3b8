package testutil

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Dial opens a TCP connection from inside the namespace.
func (ns *NS) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := ns.Do(func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	return conn, err
}

// Listen opens a TCP listener inside the namespace. The zero port means any free one.
func (ns *NS) Listen(at netip.AddrPort) (net.Listener, error) {
	var l net.Listener
	err := ns.Do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	})
	return l, err
}

// StartEcho serves TCP connections inside the namespace, sending back what it gets, until the test ends. The zero port
// means any free one; it returns the address served.
func StartEcho(t TB, in *NS, at netip.AddrPort) netip.AddrPort {
	t.Helper()
	l, err := in.Listen(at)
	if err != nil {
		t.Fatalf("echo at %s in %s: %v", at, in.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed below
			}
			conns.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				// Plain reads and writes: for two sockets io.Copy would splice, through a pipe that the runtime keeps open
				// and NoLeaks would find.
				plain := struct{ io.ReadWriter }{conn}
				_, _ = io.Copy(plain, plain) //nolint:errcheck // the client sees the broken connection
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		if err := l.Close(); err != nil {
			t.Errorf("close echo: %v", err)
		}
		conns.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// TryTCP connects from a namespace to an echo server and exchanges one message with it.
func TryTCP(ctx context.Context, from *NS, to netip.AddrPort) error {
	const message = "are you there?"
	conn, err := from.Dial(ctx, to)
	if err != nil {
		return fmt.Errorf("tcp from %s: %w", from.Name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := io.WriteString(conn, message); err != nil {
		return fmt.Errorf("tcp from %s to %s: %w", from.Name, to, err)
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("tcp from %s to %s: %w", from.Name, to, err)
	}
	if string(got) != message {
		return fmt.Errorf("tcp from %s to %s: sent %q, got %q", from.Name, to, message, got)
	}
	return nil
}

// Rate is the outcome of a TCP transfer.
type Rate struct {
	Bytes    int64
	Duration time.Duration
}

// BitsPerSecond is the mean rate over the transfer.
func (r Rate) BitsPerSecond() float64 { return float64(r.Bytes*8) / r.Duration.Seconds() }

func (r Rate) String() string { return fmt.Sprintf("%.0f Mbit/s", r.BitsPerSecond()/1e6) }

// Transfer sends over one TCP connection for about d, from a namespace to address at in another, and returns what
// arrived.
func Transfer(ctx context.Context, from, to *NS, at netip.Addr, d time.Duration) (Rate, error) {
	l, err := to.Listen(netip.AddrPortFrom(at, 0))
	if err != nil {
		return Rate{}, fmt.Errorf("transfer to %s: %w", at, err)
	}
	defer l.Close()
	// The first of the two to fail ends the other, so that neither waits for ever.
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var rate Rate
	group.Go(func() error { return sendFor(ctx, from, l.Addr().(*net.TCPAddr).AddrPort(), d) })
	group.Go(func() (err error) {
		rate, err = receiveAll(ctx, l)
		return err
	})
	if err := group.Wait(); err != nil {
		return Rate{}, fmt.Errorf("transfer from %s to %s: %w", from.Name, at, err)
	}
	return rate, nil
}

func receiveAll(ctx context.Context, l net.Listener) (Rate, error) {
	conn, err := l.Accept()
	if err != nil {
		return Rate{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	start := time.Now()
	n, err := io.Copy(io.Discard, conn)
	return Rate{Bytes: n, Duration: time.Since(start)}, err
}

func sendFor(ctx context.Context, from *NS, to netip.AddrPort, d time.Duration) error {
	conn, err := from.Dial(ctx, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, 128<<10)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if _, err := conn.Write(buf); err != nil {
			return err
		}
	}
	return nil
}
