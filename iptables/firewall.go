package iptables

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Config says which programs to use.
type Config struct {
	// V4 and V6 are the names or paths of the iptables programs, as "iptables-nft" or "/opt/bin/ip6tables-legacy";
	// the -save and -restore programs must be next to them. Empty: what the system calls iptables and ip6tables, so
	// that our rules stand in the same tables as everyone else's.
	V4, V6 string
}

// Firewall keeps the host's rules equal to what its owners ask for. Methods are safe for concurrent use; those that run
// at the same time share a restore. Each returns when its change is in force or has been refused. If its context ends
// first it returns the context's error: a change that was still waiting is withdrawn, one under way may come into force.
//
// There must be one Firewall per network namespace: it takes every CNM- chain for its own.
type Firewall struct {
	tools    []tool
	restores atomic.Int64 // how many were run

	mu      sync.Mutex // guards all below
	queue   []*request
	writing bool // a writer is running; it takes the queue and, alone, uses what follows
	closed  bool
	writers sync.WaitGroup

	applied applied // used only by the writer
}

// New looks for the iptables programs. It changes nothing on the host. A missing program is ErrUnavailable, a too old one
// ErrUnsupported. IPv6 is left out only if the kernel does not have it.
func New(cfg Config) (*Firewall, error) {
	tools, err := detect(cfg)
	if err != nil {
		return nil, err
	}
	return &Firewall{tools: tools, applied: applied{state: newState(), stale: true}}, nil
}

// Set adds a network, or changes it. ErrConflict: it claims an interface or gateway that another network has.
func (f *Firewall) Set(ctx context.Context, owner string, n Network) error {
	if err := validateOwner(owner); err != nil {
		return err
	}
	if err := n.Validate(); err != nil {
		return err
	}
	n = n.clone()
	return f.do(ctx, &request{
		what:    "set firewall network " + n.ID,
		touched: []networkKey{{owner, n.ID}},
		edit:    func(s state) error { return s.set(owner, n) },
	})
}

// Remove removes a network; an absent one is no error. With an owner's last network all that was made for it goes.
func (f *Firewall) Remove(ctx context.Context, owner, id string) error {
	if err := validateOwner(owner); err != nil {
		return err
	}
	if !idPattern.MatchString(id) {
		return fmt.Errorf("firewall network %q: want 1 to 64 of [a-z0-9-]: %w", id, errdefs.ErrInvalid)
	}
	return f.do(ctx, &request{
		what:    "remove firewall network " + id,
		touched: []networkKey{{owner, id}},
		edit:    func(s state) error { s.remove(owner, id); return nil },
	})
}

// SetTunnelPorts replaces the owner's tunnel ports; none removes the guards.
func (f *Firewall) SetTunnelPorts(ctx context.Context, owner string, ports ...uint16) error {
	if err := validateOwner(owner); err != nil {
		return err
	}
	if err := validatePorts(ports); err != nil {
		return err
	}
	ports = slices.Clone(ports)
	return f.do(ctx, &request{
		what:    "set firewall tunnel ports",
		touched: []networkKey{{owner: owner}},
		edit:    func(s state) error { s.setPorts(owner, ports); return nil },
	})
}

// Sync makes spec everything its owner wants, reads the host's rules and repairs all that differs, for all owners. Rules
// that an owner left behind in an earlier process stay until that owner's first Sync.
func (f *Firewall) Sync(ctx context.Context, spec Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	spec = spec.clone()
	return f.do(ctx, &request{
		what: "sync firewall of " + spec.Owner,
		edit: func(s state) error { return s.replace(spec) },
		read: true,
	})
}

// Check returns what Sync would change, and what it would keep. It changes nothing.
func (f *Firewall) Check(ctx context.Context, spec Spec) ([]Difference, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	spec = spec.clone()
	var diffs []Difference
	err := f.do(ctx, &request{
		what: "check firewall of " + spec.Owner,
		check: func(ctx context.Context, s state) (err error) {
			if err := s.replace(spec); err != nil {
				return err
			}
			diffs, err = f.differences(ctx, s)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	return diffs, nil
}

// Close waits for the changes under way and refuses others with ErrClosed. The rules stay in force.
func (f *Firewall) Close() error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.writers.Wait()
	return nil
}

func (s Spec) clone() Spec {
	s.TunnelPorts, s.Networks = slices.Clone(s.TunnelPorts), slices.Clone(s.Networks)
	for i, n := range s.Networks {
		s.Networks[i] = n.clone()
	}
	return s
}
