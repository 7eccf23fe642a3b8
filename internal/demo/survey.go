package demo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	askInterval = 250 * time.Millisecond
	askRounds   = 5                // at least; whoever must stay silent has been asked that often
	askLimit    = 20 * time.Second // for answers that must come; the machine may be busy with other things
)

// survey asks questions, all at the same time, and collects the answers.
type survey struct {
	questions []question // the number of a question is its index
	askers    map[*box]sockets

	mu   sync.Mutex // guards seen
	seen answers
}

// ask puts every question again and again until all that must be answered are, and the others had their chance.
func (w *world) ask(ctx context.Context, places map[*box]*testutil.NS, questions []question) (answers, error) {
	s := &survey{questions: questions, askers: map[*box]sockets{}, seen: answers{}}
	var reading sync.WaitGroup
	err := s.open(places, &reading)
	if err == nil {
		err = s.run(ctx, w)
	}
	for _, asker := range s.askers {
		err = errors.Join(err, asker.close())
	}
	reading.Wait()
	return s.seen, err
}

func (s *survey) open(places map[*box]*testutil.NS, reading *sync.WaitGroup) error {
	for _, q := range s.questions {
		if _, ok := s.askers[q.from]; ok {
			continue
		}
		// Not the responders' port: an answer must never look like a question in the other direction.
		asker, err := listen(places[q.from], 0)
		if err != nil {
			return fmt.Errorf("ask from %s: %w", q.from.name(), err)
		}
		s.askers[q.from] = asker
		for _, conn := range asker {
			reading.Go(func() { s.read(q.from, conn) })
		}
	}
	return nil
}

func (s *survey) run(ctx context.Context, w *world) error {
	tick := time.NewTicker(askInterval)
	defer tick.Stop()
	limit := time.Now().Add(askLimit)
	for round := 1; ; round++ {
		missing := s.send(w)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if round >= askRounds && missing == 0 || time.Now().After(limit) {
			return nil
		}
	}
}

// send asks what has not been answered, and returns how many answers are missing that must come.
func (s *survey) send(w *world) (missing int) {
	message := make([]byte, askHeader)
	message[0] = '?'
	for i, q := range s.questions {
		s.mu.Lock()
		answered := len(s.seen[q]) > 0
		s.mu.Unlock()
		if answered {
			continue
		}
		if w.expected(q) != (answer{}) {
			missing++
		}
		binary.BigEndian.PutUint64(message[1:], uint64(i))
		// An error here is one more way of not getting through: no route, or an ICMP message for an earlier question.
		//nolint:errcheck // what was not sent is not answered, and that is what counts
		s.askers[q.from][familyOf(q.to)].WriteToUDPAddrPort(message, netip.AddrPortFrom(q.to, responderPort))
	}
	return missing
}

// read ends when the socket is closed.
func (s *survey) read(from *box, conn *net.UDPConn) {
	buf := make([]byte, 256)
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < ansHeader || buf[0] != '!' {
			continue
		}
		number := binary.BigEndian.Uint64(buf[1:])
		if number >= uint64(len(s.questions)) {
			continue
		}
		q := s.questions[number]
		if q.from != from || peer.Addr().Unmap() != q.to {
			continue
		}
		a := answer{who: string(buf[ansHeader:n]), source: netip.AddrFrom16([16]byte(buf[askHeader:ansHeader])).Unmap()}
		s.mu.Lock()
		if !slices.Contains(s.seen[q], a) {
			s.seen[q] = append(s.seen[q], a)
		}
		s.mu.Unlock()
	}
}
