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
	// heldAtMost bounds the memory. What comes then goes back at once.
	heldAtMost = 1024
)

// holder keeps packets whose senders are not known yet: an endpoint on another node may send before this node has heard of
// it. They go back to the switch when it has, or when they have waited long enough, and the switch judges them anew: to
// hold is not to admit.
type holder struct {
	mu      sync.Mutex // guards the following
	packets []heldPacket

	fresh chan struct{} // there may be one to give back; holds one token
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
	p := heldPacket{from, properties, conn, time.Now().Add(heldFor)}
	h.mu.Lock()
	if len(h.packets) >= heldAtMost {
		h.packets[0].until = time.Time{}
		p.until = time.Time{}
	}
	h.packets = append(h.packets, p)
	h.mu.Unlock()
	h.look()
}

// look makes the holder look whether senders are known.
func (h *holder) look() {
	select {
	case h.fresh <- struct{}{}:
	default:
	}
}

// ready takes the packets that are to go back: those whose senders' flows are wanted, which it returns too, and those that
// have waited long enough. left is how long the next of the others may wait.
func (h *holder) ready(now time.Time, known func(sender) (Object, bool)) (back []heldPacket, flows []Object, left time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left = heldFor
	h.packets = slices.DeleteFunc(h.packets, func(p heldPacket) bool {
		o, ok := known(p.from)
		if ok {
			flows = append(flows, o)
		}
		if ok || !now.Before(p.until) {
			back = append(back, p)
			return true
		}
		left = min(left, p.until.Sub(now))
		return false
	})
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
