package history_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
	"github.com/libcnm/libcnm/internal/testutil/agent"
	"github.com/libcnm/libcnm/store/etcd"
)

// shared is a driver whose networks need all that can be given twice: names, VNIs, subnets and addresses.
var shared = drivers.Info{Name: "shared", Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true}

// Where networks without subnets get theirs: 16 of each family.
var subnetPools = []libcnm.AddressPool{
	{Base: netip.MustParsePrefix("10.64.0.0/24"), Size: 28}, {Base: netip.MustParsePrefix("fd64::/60"), Size: 64},
}

// openRequest says how to start one of the process's controllers.
type openRequest struct {
	Node      string
	Underlay  netip.Addr
	Etcd      []string
	Forgetful float64 // the share of commits whose guards are forgotten
	Seed      uint64
}

// request is a call to one of the process's controllers.
type request struct {
	Node    string
	Network string        // ID of the endpoint's network; empty: it is about a network
	ID      string        // release: of the endpoint or network
	Name    string        // acquire, find
	Token   string        // acquire
	Addrs   []netip.Addr  // acquire an endpoint
	MAC     drivers.MAC   // likewise; zero: any
	VNI     uint32        // acquire a network; 0: any
	Subnets []subnet      // acquire a network; none: any
	Timeout time.Duration // of the call
}

type subnet struct{ Prefix, Range netip.Prefix }

// answer is how a call ended, and when it began and ended.
type answer struct {
	Start, End int64 // of the clock that all processes of a machine share, in ns
	Class      string
	Text       string // of the error
	ID         string
	Token      string
	Addrs      []netip.Addr
	MAC        string
	VNI        uint32
	Subnets    []netip.Prefix
}

// The classes of answers.
const (
	classDone       = "done"
	classExists     = "exists"
	classExhausted  = "exhausted"
	classAbsent     = "absent"
	classInUse      = "in use"
	classUnknown    = "unknown" // it may have happened, or happen yet
	classUnexpected = "unexpected"
)

// refusals are the answers that a call may get when it has changed nothing.
var refusals = map[string]error{
	classExists: libcnm.ErrExists, classExhausted: libcnm.ErrExhausted, classAbsent: libcnm.ErrNotFound,
	classInUse: libcnm.ErrInUse,
}

// classify tells what a call's error says of its outcome; an error that no call may return is a class of its own.
func classify(err error) string {
	if err == nil {
		return classDone
	}
	for _, class := range []error{libcnm.ErrUnavailable, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, class) {
			return classUnknown
		}
	}
	for class, refusal := range refusals {
		if errors.Is(err, refusal) {
			return class
		}
	}
	return classUnexpected
}

// now reads the clock that does not jump and is the same in all processes.
func now() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read clock: %w", err)
	}
	return ts.Nano(), nil
}

// allocators are the controllers of one process, by node.
type allocators struct {
	mu    sync.Mutex // guards nodes
	nodes map[string]*allocator
}

// allocator is one controller.
type allocator struct {
	ctrl *libcnm.NetworkController

	mu       sync.Mutex // guards networks
	networks map[string]*libcnm.Network
}

func newAllocators() *allocators { return &allocators{nodes: make(map[string]*allocator)} }

func (as *allocators) handlers() map[string]agent.Handler {
	return map[string]agent.Handler{
		"open":    agent.Handle(as.open),
		"acquire": agent.Handle(as.timed((*allocator).acquire)),
		"release": agent.Handle(as.timed((*allocator).release)),
		"find":    agent.Handle(as.timed((*allocator).find)),
	}
}

// open starts a controller, unless an attempt that nobody waited for has started it.
func (as *allocators) open(ctx context.Context, r openRequest) (struct{}, error) {
	as.mu.Lock()
	known := as.nodes[r.Node] != nil
	as.mu.Unlock()
	if known {
		return struct{}{}, nil
	}
	driver := drivertest.NewFake(drivertest.FakeConfig{Info: shared})
	opts := []libcnm.Option{
		libcnm.WithNode(r.Node, r.Underlay), libcnm.WithDriver(driver), libcnm.WithAddressPools(subnetPools...),
		libcnm.WithDataDir(filepath.Join(libcnm.DefaultDataDir, r.Node)),
		libcnm.WithRunDir(filepath.Join(libcnm.DefaultRunDir, r.Node)),
		libcnm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", r.Node)),
	}
	cfg := clientv3.Config{Endpoints: r.Etcd}
	if r.Forgetful == 0 {
		opts = append(opts, libcnm.WithEtcd(cfg))
	} else {
		st, err := etcd.New(ctx, cfg)
		if err != nil {
			return struct{}{}, err
		}
		opts = append(opts, libcnm.WithStore(newForgetful(st, r.Forgetful, r.Seed)))
	}
	ctrl, err := libcnm.New(ctx, opts...)
	if err != nil {
		return struct{}{}, err
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	as.nodes[r.Node] = &allocator{ctrl: ctrl, networks: make(map[string]*libcnm.Network)}
	return struct{}{}, nil
}

// timed makes a method of a controller a handler that answers with the outcome and its moments.
func (as *allocators) timed(do func(*allocator, context.Context, request, *answer) error) func(context.Context, request) (answer, error) {
	return func(ctx context.Context, r request) (a answer, err error) {
		as.mu.Lock()
		node := as.nodes[r.Node]
		as.mu.Unlock()
		if node == nil {
			return answer{}, fmt.Errorf("node %s is not open: %w", r.Node, libcnm.ErrNotFound)
		}
		ctx, cancel := context.WithTimeout(ctx, r.Timeout)
		defer cancel()
		start, err := now()
		if err != nil {
			return answer{}, err
		}
		outcome := do(node, ctx, r, &a)
		a.Start, a.Class = start, classify(outcome)
		if outcome != nil {
			a.Text = outcome.Error()
		}
		a.End, err = now()
		return a, err
	}
}

func (a *allocator) acquire(ctx context.Context, r request, got *answer) error {
	if r.Network == "" {
		opts := []libcnm.NetworkOption{libcnm.WithLabels(map[string]string{"token": r.Token})}
		if r.VNI != 0 {
			opts = append(opts, libcnm.WithVNI(r.VNI))
		}
		for _, s := range r.Subnets {
			var limit []libcnm.SubnetOption
			if s.Range.IsValid() {
				limit = append(limit, libcnm.SubnetRange(s.Range))
			}
			opts = append(opts, libcnm.WithSubnet(s.Prefix, limit...))
		}
		n, err := a.ctrl.NewNetwork(ctx, shared.Name, r.Name, opts...)
		if err == nil {
			got.network(n)
		}
		return err
	}
	n, err := a.network(ctx, r.Network)
	if err != nil {
		return err
	}
	// The alias tells whose endpoint of that name it is.
	opts := []libcnm.EndpointOption{libcnm.WithIP(r.Addrs...), libcnm.WithAliases(r.Token)}
	if !r.MAC.IsZero() {
		opts = append(opts, libcnm.WithMAC(r.MAC.HardwareAddr()))
	}
	ep, err := n.CreateEndpoint(ctx, r.Name, opts...)
	if err == nil {
		got.endpoint(ep)
	}
	return err
}

func (a *allocator) release(ctx context.Context, r request, _ *answer) error {
	if r.Network == "" {
		n, err := a.ctrl.NetworkByID(ctx, r.ID)
		if err != nil {
			return err
		}
		return n.Delete(ctx)
	}
	n, err := a.network(ctx, r.Network)
	if err != nil {
		return err
	}
	ep, err := n.EndpointByID(ctx, r.ID)
	if err != nil {
		return err
	}
	return ep.Delete(ctx)
}

func (a *allocator) find(ctx context.Context, r request, got *answer) error {
	if r.Network == "" {
		n, err := a.ctrl.NetworkByName(ctx, r.Name)
		if err == nil {
			got.network(n)
		}
		return err
	}
	n, err := a.network(ctx, r.Network)
	if err != nil {
		return err
	}
	ep, err := n.EndpointByName(ctx, r.Name)
	if err == nil {
		got.endpoint(ep)
	}
	return err
}

// network returns a handle on a network, which stays a handle when the network is deleted.
func (a *allocator) network(ctx context.Context, id string) (*libcnm.Network, error) {
	a.mu.Lock()
	n := a.networks[id]
	a.mu.Unlock()
	if n != nil {
		return n, nil
	}
	n, err := a.ctrl.NetworkByID(ctx, id)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.networks[id] = n
	return n, nil
}

func (a *answer) network(n *libcnm.Network) {
	a.ID, a.Token, a.VNI = n.ID(), n.Labels()["token"], n.VNI()
	for _, s := range n.Subnets() {
		a.Subnets = append(a.Subnets, s.Prefix)
	}
}

func (a *answer) endpoint(ep *libcnm.Endpoint) {
	info := ep.Info()
	a.ID, a.MAC = ep.ID(), info.MAC.String()
	if len(info.Aliases) > 0 {
		a.Token = info.Aliases[0]
	}
	for _, p := range info.Addresses {
		a.Addrs = append(a.Addrs, p.Addr())
	}
}
