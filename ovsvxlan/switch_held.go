package ovsvxlan

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// heldFor is far above what the news of an endpoint takes to get around, and about what a sender would wait for an answer.
	heldFor = time.Second
	// heldAtMost and heldBytes bound the memory. What comes then is lost, as it is where nothing is held.
	heldAtMost = 1024
	heldBytes  = 4 << 20
)

// holder keeps packets whose senders are not known yet: an endpoint on another node may send before this node has heard of
// it. They go back to the switch when it has, or when they have waited long enough, and the switch judges them anew: to
// hold is not to admit.
type holder struct {
	waiting []heldPacket // the longest first; ready's alone

	mu      sync.Mutex // guards the following
	arrived []heldPacket
	news    bool // senders may be known that were not
	count   int  // of arrived and waiting
	bytes   int

	fresh chan struct{} // there is something to look at; holds one token
}

type heldPacket struct {
	from       sender
	properties []byte
	to         io.Writer // the connection it came by
	until      time.Time
}

func newHolder() *holder { return &holder{fresh: make(chan struct{}, 1)} }

// take is told of every message the switch sends by a connection.
func (h *holder) take(conn io.Writer, kind uint8, body []byte) {
	from, properties, ok := heldBy(kind, body)
	if !ok {
		return
	}
	h.mu.Lock()
	room := h.count < heldAtMost && h.bytes+len(properties) <= heldBytes
	if room {
		h.arrived = append(h.arrived, heldPacket{from, properties, conn, time.Now().Add(heldFor)})
		h.count++
		h.bytes += len(properties)
	}
	h.mu.Unlock()
	if room {
		h.wake()
	}
}

// look makes the holder look whether senders are known.
func (h *holder) look() {
	h.mu.Lock()
	h.news = true
	h.mu.Unlock()
	h.wake()
}

func (h *holder) wake() {
	select {
	case h.fresh <- struct{}{}:
	default:
	}
}

// ready takes the packets that are to go back: those whose senders' flows are wanted, which it returns too, and those that
// have waited long enough. left is how long the next of the others may wait. Without news only those that have just arrived
// need to be looked at. Not for concurrent use.
func (h *holder) ready(now time.Time, known func(sender) (Object, bool)) (back []heldPacket, flows []Object, left time.Duration) {
	h.mu.Lock()
	look := h.arrived
	if h.news {
		look, h.waiting = slices.Concat(h.waiting, h.arrived), nil
	}
	h.arrived, h.news = nil, false
	h.mu.Unlock()
	for _, p := range look {
		if o, ok := known(p.from); ok {
			flows, back = append(flows, o), append(back, p)
		} else {
			h.waiting = append(h.waiting, p)
		}
	}
	for len(h.waiting) > 0 && !now.Before(h.waiting[0].until) {
		back = append(back, h.waiting[0])
		h.waiting[0] = heldPacket{} // or its bytes stay as long as the list
		h.waiting = h.waiting[1:]
	}
	left = heldFor
	if len(h.waiting) > 0 {
		left = h.waiting[0].until.Sub(now)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count -= len(back)
	for _, p := range back {
		h.bytes -= len(p.properties)
	}
	return back, distinct(flows), left
}

// giveBack gives held packets back until ctx ends.
func (s *Switch) giveBack(ctx context.Context) {
	expiry := time.NewTimer(heldFor)
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.held.fresh:
		case <-expiry.C:
		}
		back, flows, left := s.held.ready(time.Now(), s.admits)
		if len(flows) > 0 {
			if err := s.flows.apply(ctx, flows); err != nil {
				s.log.Debug("flows of senders whose packets are held", "err", err)
			}
		}
		for _, p := range back {
			if err := resume(p.to, p.properties); err != nil { // the bridge is gone, and with it all that was held
				s.log.Debug("give held packet back", "err", err)
			}
		}
		expiry.Reset(left)
	}
}

// admits finds the peer by whose flows the sender is admitted.
func (s *Switch) admits(from sender) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.want.networks {
		if n.spec.VNI == from.vni {
			return n.claims.peerOf(from)
		}
	}
	return Object{}, false
}
