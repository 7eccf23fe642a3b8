package ovsvxlan

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// probeInterval is well below the 15 minutes after which OVS forgets a tunnel neighbour nobody asked it about.
	probeInterval = 2 * time.Minute
	// A neighbour that does not answer is asked again soon, but not for ever.
	probeRetry   = 200 * time.Millisecond
	probeRetries = 25
)

// prober makes the netdev datapath learn the MACs of other nodes before there is anything to send to them: it resolves
// tunnel neighbours itself, and drops what it has for them meanwhile.
type prober struct {
	resolve func(ctx context.Context, vtep netip.Addr) (known bool, err error)
	log     *slog.Logger

	mu      sync.Mutex // guards the following
	targets map[netip.Addr]struct{}
	pending map[netip.Addr]int // attempts so far

	fresh  chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

func newProber(log *slog.Logger, resolve func(context.Context, netip.Addr) (bool, error)) *prober {
	ctx, cancel := context.WithCancel(context.Background())
	p := &prober{
		resolve: resolve,
		log:     log,
		pending: map[netip.Addr]int{},
		fresh:   make(chan struct{}, 1),
		cancel:  cancel,
		done:    make(chan struct{}),
	}
	go p.loop(ctx)
	return p
}

func (p *prober) close() {
	p.cancel()
	<-p.done
}

// set replaces the targets. New ones are resolved at once.
func (p *prober) set(targets map[netip.Addr]struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range targets {
		if _, ok := p.targets[t]; !ok {
			p.pending[t] = 0
		}
	}
	p.targets = maps.Clone(targets)
	p.lockedWake()
}

// again resolves all targets, which a new ovs-vswitchd does not know.
func (p *prober) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.targets {
		p.pending[t] = 0
	}
	p.lockedWake()
}

func (p *prober) lockedWake() {
	select {
	case p.fresh <- struct{}{}:
	default:
	}
}

func (p *prober) loop(ctx context.Context) {
	defer close(p.done)
	again, retry := time.NewTicker(probeInterval), time.NewTimer(probeInterval)
	defer again.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.fresh:
		case <-retry.C:
		case <-again.C:
			p.again()
		}
		if p.round(ctx) {
			retry.Reset(probeRetry)
		}
	}
}

// round asks about every pending target once and reports whether some are left.
func (p *prober) round(ctx context.Context) bool {
	p.mu.Lock()
	ask := slices.Collect(maps.Keys(p.pending))
	p.mu.Unlock()
	for _, t := range ask {
		known, err := p.resolve(ctx, t)
		if ctx.Err() != nil {
			return false
		}
		p.settle(t, known, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending) > 0
}

func (p *prober) settle(t netip.Addr, known bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, wanted := p.targets[t]
	switch {
	case known || !wanted:
		delete(p.pending, t)
	case p.pending[t] >= probeRetries:
		delete(p.pending, t)
		p.log.Debug("tunnel neighbour does not answer", "vtep", t, "err", err)
	default:
		p.pending[t]++
	}
}

// resolve has the switch work out how it would send a frame to another node, without a frame: if it does not know the
// neighbour it asks by ARP or neighbour discovery on the spot.
func (s *Switch) resolve(ctx context.Context, vtep netip.Addr) (bool, error) {
	field := "tun_dst"
	if vtep.Is6() {
		field = "tun_ipv6_dst"
	}
	const frame = "in_port=LOCAL,dl_type=0x9000" // Ethernet loopback: of no protocol anyone treats specially
	actions := fmt.Sprintf("set_field:%s->%s,output:%d", vtep, field, tunnelNumber)
	out, err := control(ctx, s.cfg.RunDir, "ofproto/trace-packet-out", s.cfg.Bridge, frame, actions)
	return err == nil && !strings.Contains(out, "cache miss"), err
}
