package ovsvxlan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

// OpenFlow 1.5, sections 7.1.1, 7.3.2, 7.3.7 and 7.5.1: the few messages a watch exchanges.
const (
	ofVersion     = 6
	ofHello       = 0
	ofEchoRequest = 2
	ofEchoReply   = 3
	ofSetConfig   = 9
	ofBarrier     = 20
	ofBarrierDone = 21
	ofHeaderLen   = 8

	// fragNXMatch is OVS's extension OFPC_FRAG_NX_MATCH (openflow/openflow-common.h), which FragmentMode names.
	fragNXMatch = 3
)

const (
	reconnectFast  = 20 * time.Millisecond  // a restarted daemon forwards nothing until its flows are back
	reconnectSlow  = 500 * time.Millisecond // after slowAfter without success
	slowAfter      = 30 * time.Second
	handshakeLimit = 2 * time.Second
)

// ofWatch holds an OpenFlow connection to the bridge, idle but for packets that are held. Its end says at once that the bridge or its daemon is gone,
// and with them every flow; each new connection is a new epoch, in which flows must be put back.
type ofWatch struct {
	socket  string
	allowed func(context.Context) bool                    // the bridge exists and is ours: another's must not even be connected to
	message func(conn io.Writer, kind uint8, body []byte) // the switch has sent one; must not block
	log     *slog.Logger

	mu      sync.Mutex // guards the following
	conn    net.Conn   // nil: none
	epoch   uint64     // number of the connection; 0: none
	last    uint64
	changed chan struct{} // closed and replaced when epoch changes

	tried  chan struct{} // closed once it is known whether there is a connection
	kick   chan struct{} // the bridge may have come: try at once
	cancel context.CancelFunc
	done   chan struct{}
}

func newWatch(socket string, log *slog.Logger, allowed func(context.Context) bool, message func(io.Writer, uint8, []byte)) *ofWatch {
	return &ofWatch{
		socket:  socket,
		allowed: allowed,
		message: message,
		log:     log,
		changed: make(chan struct{}),
		tried:   make(chan struct{}),
		kick:    make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
}

func (w *ofWatch) start() {
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	go w.loop(ctx)
}

// hurry makes a watch without a connection try again now.
func (w *ofWatch) hurry() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *ofWatch) close() {
	w.cancel()
	<-w.done
}

func (w *ofWatch) loop(ctx context.Context) {
	defer close(w.done)
	lost := time.Now()
	tried := sync.OnceFunc(func() { close(w.tried) })
	defer tried()
	for ctx.Err() == nil {
		conn, err := w.dial(ctx)
		if err == nil {
			w.set(conn)
		}
		tried()
		if err == nil {
			err := w.serve(ctx, conn)
			w.set(nil)
			w.log.Debug("openflow connection ended", "socket", w.socket, "err", err)
			lost = time.Now()
		}
		wait := reconnectFast
		if time.Since(lost) > slowAfter {
			wait = reconnectSlow
		}
		select {
		case <-ctx.Done():
		case <-w.kick:
		case <-time.After(wait):
		}
	}
}

func (w *ofWatch) set(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn, w.epoch = conn, 0
	if conn != nil {
		w.last++
		w.epoch = w.last
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// current returns the epoch, 0 while there is no connection, and a channel that is closed when it changes.
func (w *ofWatch) current() (uint64, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch, w.changed
}

// settled waits for the first attempt to connect, and then returns the epoch, 0 while there is no connection.
func (w *ofWatch) settled(ctx context.Context) (uint64, error) {
	select {
	case <-w.tried:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	epoch, _ := w.current()
	return epoch, nil
}

// up waits for a connection.
func (w *ofWatch) up(ctx context.Context) (uint64, error) {
	for {
		epoch, changed := w.current()
		if epoch != 0 {
			return epoch, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("connect to bridge at %s: %w: %w", w.socket, ctx.Err(), errdefs.ErrUnavailable)
		case <-changed:
		}
	}
}

// dial connects, agrees on the version and sets up what dies with the bridge too.
func (w *ofWatch) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	if !w.allowed(ctx) {
		return nil, fmt.Errorf("bridge at %s: %w", w.socket, errdefs.ErrNotFound)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", w.socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { expire(conn) })
	if err = handshake(conn); err == nil {
		err = w.setUp(conn)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, closeWith(conn, err)
	}
	return conn, nil
}

// expire ends the reads and writes of a connection.
func expire(conn net.Conn) {
	if err := conn.SetDeadline(time.Unix(1, 0)); err != nil {
		conn.Close() // whoever reads or writes sees that
	}
}

func closeWith(c io.Closer, err error) error {
	if cerr := c.Close(); cerr != nil {
		return fmt.Errorf("%w; close: %w", err, cerr)
	}
	return err
}

func handshake(conn net.Conn) error {
	if err := send(conn, ofHello, 1, nil); err != nil {
		return err
	}
	kind, _, _, err := receive(conn)
	if err != nil {
		return err
	}
	if kind != ofHello {
		return fmt.Errorf("openflow handshake: message type %d: %w", kind, errdefs.ErrUnavailable)
	}
	return nil
}

// setUp returns when the fragment mode is in force and paused packets come here, so that no flow that counts on that is
// there before it is. A packet may come before the answer: the flows of an earlier controller are there.
func (w *ofWatch) setUp(conn net.Conn) error {
	config := binary.BigEndian.AppendUint16(nil, fragNXMatch)
	// Bytes of a missed packet to send to us: such a connection gets no packets at all if it wants none of them.
	config = binary.BigEndian.AppendUint16(config, 1)
	if err := askForHeld(conn); err != nil {
		return err
	}
	return step.Do("set fragment mode", func() error {
		if err := errors.Join(send(conn, ofSetConfig, 2, config), send(conn, ofBarrier, 3, nil)); err != nil {
			return err
		}
		for {
			kind, _, body, err := receive(conn)
			if err != nil || kind == ofBarrierDone {
				return err
			}
			w.message(conn, kind, body)
		}
	})
}

// serve answers the switch's echo requests and passes on what else it sends until the connection or ctx ends.
func (w *ofWatch) serve(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { expire(conn) })
	defer stop()
	for {
		kind, xid, body, err := receive(conn)
		if err == nil && kind == ofEchoRequest {
			err = send(conn, ofEchoReply, xid, body)
		}
		if err != nil {
			return closeWith(conn, err)
		}
		w.message(conn, kind, body)
	}
}

func send(w io.Writer, kind uint8, xid uint32, body []byte) error {
	msg := append([]byte{ofVersion, kind}, make([]byte, ofHeaderLen-2)...)
	binary.BigEndian.PutUint16(msg[2:], uint16(ofHeaderLen+len(body)))
	binary.BigEndian.PutUint32(msg[4:], xid)
	_, err := w.Write(append(msg, body...))
	return err
}

func receive(r io.Reader) (kind uint8, xid uint32, body []byte, err error) {
	var head [ofHeaderLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	length := binary.BigEndian.Uint16(head[2:])
	if length < ofHeaderLen {
		return 0, 0, nil, fmt.Errorf("openflow message of %d bytes: %w", length, errdefs.ErrUnavailable)
	}
	body = make([]byte, length-ofHeaderLen)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, 0, nil, err
	}
	return head[1], binary.BigEndian.Uint32(head[4:]), body, nil
}
