package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Switch keeps one Open vSwitch bridge equal to a set of networks. Its methods are safe for concurrent use; concurrent
// changes share OVSDB transactions and OpenFlow bundles. The bridge exists as long as there is a network. What the
// Switch did stays when the process ends; the next one continues with [Switch.Sync].
type Switch struct {
	cfg   Config
	log   *slog.Logger
	db    *database
	rows  *rows
	ports *runner[string] // of rows
	watch *ofWatch
	held  *holder
	flows *flows
	probe *prober
	calm  *runner[struct{}] // see Settle

	mu       sync.Mutex // guards the following
	want     *desired
	datapath Datapath
	indexes  map[string]int // of the devices of the ports in want
	closed   bool

	events     chan string
	background context.CancelFunc
	done       sync.WaitGroup
	closeOnce  sync.Once
}

// Open connects to ovsdb-server, which must answer: otherwise the error is ErrUnavailable and names the endpoint. It
// changes nothing.
func Open(ctx context.Context, cfg Config) (*Switch, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	s := &Switch{
		cfg:     cfg,
		log:     cfg.Logger,
		want:    newDesired(cfg.base(), map[string]uint16{}, map[string]uint32{}),
		indexes: map[string]int{},
		events:  make(chan string, 1),
	}
	s.want.vtep = cfg.VTEP
	s.rows = &rows{bridge: cfg.Bridge, want: s.wantRows, expected: map[string]int{}}
	socket := filepath.Join(cfg.RunDir, cfg.Bridge+".mgmt")
	s.held = newHolder()
	s.watch = newWatch(socket, cfg.Logger, s.bridgeIsOurs, s.held.take)
	if s.db, err = openDatabase(ctx, cfg.OVSDB, cfg.Logger, s.rowChanged); err != nil {
		return nil, err
	}
	s.rows.db = s.db
	if err := s.adopt(ctx); err != nil {
		s.db.close()
		return nil, err
	}
	s.probe = newProber(cfg.Logger, s.resolve)
	s.ports = newRunner(s.rows.pass)
	s.calm = newRunner(s.settlePass)
	s.watch.start()
	s.flows = newFlows(socket, s.watch, cfg.Logger)
	var background context.Context
	background, s.background = context.WithCancel(context.Background())
	s.done.Go(func() { s.replay(background) })
	s.done.Go(func() { s.giveBack(background) })
	return s, nil
}

// adopt takes over what an earlier process chose: the datapath and the numbers of networks and ports.
func (s *Switch) adopt(ctx context.Context) error {
	have, err := s.rows.survey(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.datapath = s.cfg.Datapath
	mine := have.bridge != nil && ours(have.bridge.ExternalIDs)
	if s.datapath == DatapathAuto {
		s.datapath = DatapathNetdev
		if have.systemDatapath {
			s.datapath = DatapathSystem
		}
		if mine && have.bridge.DatapathType != "" {
			s.datapath = Datapath(have.bridge.DatapathType)
		}
	}
	if !mine {
		return nil
	}
	s.want.zones = storedZones(have.bridge)
	for name, i := range have.interfaces {
		for _, n := range []*int{i.OFPortRequest, i.OFPort} {
			if n != nil && *n >= firstNumber && *n <= lastNumber {
				s.want.numbers.give(name, uint32(*n))
				break
			}
		}
	}
	return nil
}

// Datapath returns the datapath the bridge has, or will have.
func (s *Switch) Datapath() Datapath {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.datapath
}

// Events delivers a reason each time the bridge lost state that the Switch may not have been able to restore alone:
// the caller should Sync. Reasons that nobody takes are dropped but for one. Close closes it.
func (s *Switch) Events() <-chan string { return s.events }

// Close ends connections and goroutines. The bridge keeps forwarding.
func (s *Switch) Close() {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.background()
		s.ports.close()
		s.flows.runner.close()
		s.watch.close()
		s.calm.close() // after the connection, which it may be writing to
		s.db.close()
		s.done.Wait()
		s.probe.close()
		close(s.events)
	})
}

// change runs fn with what is wanted. Nothing else changes it meanwhile, and what fn sets is visible to passes at once.
func (s *Switch) change(fn func(*desired) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("switch %s: %w", s.cfg.Bridge, errdefs.ErrClosed)
	}
	return fn(s.want)
}

// lockedProgram compiles objects and hands them to the flow writer. Programs of objects that changed together must be
// handed over together: see flows.set.
func (s *Switch) lockedProgram(m *desired, objects []Object) error {
	programs, drop, err := m.compile(objects)
	if err != nil {
		return err
	}
	s.flows.set(programs, drop)
	s.held.look()
	return nil
}

// wantRows is what the database should hold for what is wanted: of the rows named by keys, or of all if keys is nil.
func (s *Switch) wantRows(keys []string) wantRows {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys == nil {
		return s.lockedWantRows(s.want)
	}
	return s.lockedWantRowsOf(s.want, keys)
}

func (s *Switch) lockedWantRows(m *desired) wantRows {
	return s.lockedWantRowsOf(m, slices.AppendSeq(s.basePorts(), maps.Keys(m.devices)))
}

func (s *Switch) lockedWantRowsOf(m *desired, keys []string) wantRows {
	if len(m.zones) == 0 {
		return wantRows{}
	}
	want := wantRows{bridge: &wantBridge{name: s.cfg.Bridge, datapath: string(s.datapath)}, ports: make(map[string]wantPort, len(keys))}
	for _, key := range keys {
		if key == bridgeKey {
			want.bridge.zones = maps.Clone(m.zones)
			continue
		}
		if p, ok := s.wantPort(m, key); ok {
			p.index = s.indexes[key]
			want.ports[key] = p
		}
	}
	return want
}

// wantPort is the row to have for a device; it is false for one that is none of ours.
func (s *Switch) wantPort(m *desired, device string) (wantPort, bool) {
	switch device {
	case s.cfg.tunnelName():
		return s.cfg.tunnelPort(), true
	case s.cfg.Gateway.Interface:
		return wantPort{mark: markGateway, number: gatewayNumber}, true
	}
	return m.endpointPort(device)
}

// basePorts are the keys of the rows every network needs.
func (s *Switch) basePorts() []string {
	keys := []string{bridgeKey, s.cfg.tunnelName()}
	if g := s.cfg.Gateway.Interface; g != "" {
		keys = append(keys, g)
	}
	return keys
}

// both runs two steps at the same time and waits for both.
func both(a, b func() error) error {
	errs := make(chan error, 1)
	go func() { errs <- a() }()
	err := b()
	return errors.Join(<-errs, err)
}
