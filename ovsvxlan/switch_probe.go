package ovsvxlan

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// probeInterval is well below the 15 minutes after which OVS forgets a tunnel neighbour.
	probeInterval = 2 * time.Minute
	// probePort is discard (RFC 863): what answers, if anything, does not matter.
	probePort = 9
)

// prober makes the host ask for the MACs of other nodes. The netdev datapath learns tunnel neighbours from the answers
// that pass through it; without, the first frame to each node is lost while it asks itself.
type prober struct {
	log *slog.Logger

	mu      sync.Mutex // guards targets
	targets map[netip.Addr]struct{}

	fresh  chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func newProber(log *slog.Logger) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{log: log, fresh: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	go p.loop(ctx)
	return p
}

func (p *prober) close() {
	p.cancel()
	<-p.done
}

// set replaces the targets, and probes at once when there are new ones.
func (p *prober) set(targets map[netip.Addr]struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	added := false
	for t := range targets {
		if _, ok := p.targets[t]; !ok {
			added = true
		}
	}
	p.targets = maps.Clone(targets)
	if !added {
		return
	}
	select {
	case p.fresh <- struct{}{}:
	default:
	}
}

func (p *prober) loop(ctx context.Context) {
	defer close(p.done)
	again := time.NewTicker(probeInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.fresh:
		case <-again.C:
		}
		p.mu.Lock()
		targets := slices.Collect(maps.Keys(p.targets))
		p.mu.Unlock()
		for _, t := range targets {
			if err := probe(ctx, t); err != nil && ctx.Err() == nil {
				p.log.Debug("probe tunnel neighbour", "vtep", t, "err", err)
			}
		}
	}
}

func probe(ctx context.Context, vtep netip.Addr) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", netip.AddrPortFrom(vtep, probePort).String())
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte{0})
	if cerr := conn.Close(); err == nil {
		err = cerr
	}
	return err
}
