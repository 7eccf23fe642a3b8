package demo

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/libcnm/libcnm/internal/testutil"
)

// responderPort is where every sandbox, and the outside, says its name to whoever asks.
const responderPort = 7007

// A question is "?" and a number of nonceLen bytes; its answer is "!", the number, the source address that the responder
// saw as 16 bytes, and the responder's name.
const (
	nonceLen  = 8
	askHeader = 1 + nonceLen
	ansHeader = askHeader + 16
)

// sockets are UDP sockets of both families in one namespace.
type sockets [2]*net.UDPConn

func listen(ns *testutil.NS, port uint16) (s sockets, err error) {
	err = ns.Do(func() error {
		for family, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			conn, err := net.ListenUDP([]string{"udp4", "udp6"}[family], net.UDPAddrFromAddrPort(netip.AddrPortFrom(any, port)))
			if err != nil {
				return err
			}
			s[family] = conn
		}
		return nil
	})
	if err != nil {
		return s, errors.Join(fmt.Errorf("open sockets in %s: %w", ns.Name, err), s.close())
	}
	return s, nil
}

func (s sockets) close() error {
	var errs []error
	for _, conn := range s {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
	}
	return errors.Join(errs...)
}

// responder says its name until it is stopped.
type responder struct {
	sockets sockets
	serving sync.WaitGroup
	once    sync.Once
	err     error
}

// startResponder makes whoever is in the namespace say its name, until stop or the end.
func startResponder(t testutil.TB, ns *testutil.NS, name string) (*responder, error) {
	s, err := listen(ns, responderPort)
	if err != nil {
		return nil, fmt.Errorf("responder of %s: %w", name, err)
	}
	r := &responder{sockets: s}
	for _, conn := range s {
		r.serving.Go(func() { serveName(conn, name) })
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop responder of %s: %v", name, err)
		}
	})
	return r, nil
}

func (r *responder) stop() error {
	r.once.Do(func() {
		r.err = r.sockets.close()
		r.serving.Wait()
	})
	return r.err
}

// serveName ends when the socket is closed.
func serveName(conn *net.UDPConn, name string) {
	buf := make([]byte, 64)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != askHeader || buf[0] != '?' {
			continue
		}
		source := from.Addr().Unmap().As16()
		reply := bytes.Join([][]byte{{'!'}, buf[1:askHeader], source[:], []byte(name)}, nil)
		// An answer that cannot be sent is not heard, which is what the asker reports.
		if _, err := conn.WriteToUDPAddrPort(reply, from); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
