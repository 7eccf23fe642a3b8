package libcnm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/keyed"
	"github.com/libcnm/libcnm/ipam"
	"github.com/libcnm/libcnm/store"
)

// allocatorIdle is how long an allocator follows the claims of a network that no endpoint is made in.
const allocatorIdle = 10 * time.Minute

// allocators holds one allocator per network that endpoints were made in lately. The zero value is ready for use.
type allocators struct {
	loading keyed.Queue
	mu      sync.Mutex // guards byID
	byID    map[drivers.NetworkID]*allocator
}

// allocator knows which addresses of a network are claimed. In the local store this process makes all claims; in a
// cluster it follows those of others, and may be behind: the guards of each commit decide.
type allocator struct {
	pools []*ipam.Pool // one for each subnet, in order
	stop  context.CancelFunc
	idle  *time.Timer // nil in the local store
}

// of returns the network's allocator, reading the claims first if it is new.
//
//nolint:contextcheck // what follows the claims outlives this call
func (as *allocators) of(ctx context.Context, n *Network) (*allocator, error) {
	if a := as.known(n.rec.ID); a != nil {
		return a, nil
	}
	release, err := as.loading.Lock(ctx, string(n.rec.ID))
	if err != nil {
		return nil, err
	}
	defer release()
	if a := as.known(n.rec.ID); a != nil {
		return a, nil
	}
	a, rev, err := loadAllocator(ctx, n)
	if err != nil {
		return nil, err
	}
	follow, stop := context.WithCancel(n.c.background)
	a.stop = stop
	shared := n.store() != n.c.local
	if shared {
		a.idle = time.AfterFunc(allocatorIdle, stop)
	}
	as.mu.Lock()
	if as.byID == nil {
		as.byID = make(map[drivers.NetworkID]*allocator)
	}
	as.byID[n.rec.ID] = a
	as.mu.Unlock()
	if shared {
		n.c.tasks.Go(func() { as.follow(follow, n, a, rev) })
	}
	return a, nil
}

func (as *allocators) known(id drivers.NetworkID) *allocator {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.byID[id]
	if a != nil && a.idle != nil {
		a.idle.Reset(allocatorIdle)
	}
	return a
}

// drop forgets a network's allocator.
func (as *allocators) drop(id drivers.NetworkID) {
	as.mu.Lock()
	defer as.mu.Unlock()
	if a := as.byID[id]; a != nil {
		a.stop()
		delete(as.byID, id)
	}
}

// follow keeps the allocator up to date until it is dropped, by disuse too.
func (as *allocators) follow(ctx context.Context, n *Network, a *allocator, rev store.Rev) {
	defer as.forget(n.rec.ID, a)
	for ev, err := range n.store().Watch(ctx, dirClaims(n.rec.ID), rev) {
		if err == nil {
			err = a.observe(n, ev)
		}
		if err != nil {
			if ctx.Err() == nil {
				n.c.log.Info("address claims are read anew", "network", n.rec.Name, "cause", err)
			}
			return
		}
	}
}

func (as *allocators) forget(id drivers.NetworkID, a *allocator) {
	a.stop()
	a.idle.Stop()
	as.mu.Lock()
	defer as.mu.Unlock()
	if as.byID[id] == a {
		delete(as.byID, id)
	}
}

func loadAllocator(ctx context.Context, n *Network) (*allocator, store.Rev, error) {
	claims, rev, err := n.listClaims(ctx)
	if err != nil {
		return nil, 0, err
	}
	a, err := n.allocator(claims, rev)
	return a, rev, err
}

// allocator returns one that knows a listing of the claims.
func (n *Network) allocator(claims []ipam.Claim, rev store.Rev) (*allocator, error) {
	a := &allocator{}
	for _, s := range n.rec.Subnets {
		pool, err := ipam.NewPool(s.poolConfig())
		if err != nil {
			return nil, err
		}
		a.pools = append(a.pools, pool)
	}
	return a, a.reset(claims, rev)
}

// listClaims reads all claims.
func (n *Network) listClaims(ctx context.Context) ([]ipam.Claim, store.Rev, error) {
	raws, rev, err := n.store().List(ctx, dirClaims(n.rec.ID))
	if err != nil {
		return nil, 0, err
	}
	claims := make([]ipam.Claim, 0, len(raws))
	for _, raw := range raws {
		claims = append(claims, n.readClaim(raw))
	}
	return claims, rev, nil
}

// reload reads all claims into the view.
func (a *allocator) reload(ctx context.Context, n *Network) error {
	claims, rev, err := n.listClaims(ctx)
	if err != nil {
		return err
	}
	return a.reset(claims, rev)
}

// reset takes over a listing.
func (a *allocator) reset(claims []ipam.Claim, rev store.Rev) error {
	parts := make([][]ipam.Claim, len(a.pools))
	for _, c := range claims {
		if i := a.poolOf(c.Addr); i >= 0 {
			parts[i] = append(parts[i], c)
		}
	}
	for i, pool := range a.pools {
		if err := pool.Reset(parts[i], int64(rev)); err != nil {
			return err
		}
	}
	return nil
}

// confirmExhausted reads all claims and returns ErrExhausted if nothing was free at that moment. The view alone cannot
// tell: it may be behind those who free addresses elsewhere, and what it knows of each address may be of another moment,
// so that it can show a full pool where there never was one.
func (a *allocator) confirmExhausted(ctx context.Context, n *Network, want []netip.Addr) error {
	claims, rev, err := n.listClaims(ctx)
	if err != nil {
		return err
	}
	moment, err := n.allocator(claims, rev)
	if err != nil {
		return err
	}
	if _, err := moment.choose(want, 0); errors.Is(err, ErrExhausted) {
		return err
	}
	return a.reset(claims, rev)
}

func (a *allocator) poolOf(addr netip.Addr) int {
	return slices.IndexFunc(a.pools, func(p *ipam.Pool) bool { return p.Subnet().Contains(addr) })
}

func (a *allocator) observe(n *Network, ev store.Event) error {
	if ev.Key == "" {
		return nil
	}
	if !ev.Deleted {
		return a.watched(n.readClaim(ev.Record))
	}
	c := ipam.Claim{State: ipam.Absent, Rev: int64(ev.Rev)}
	if addr, err := claimAddr(ev.Key); err == nil { // else it was nobody's
		c.Addr = addr
	}
	return a.watched(c)
}

// watched tells the allocator of a claim in the order of the watch.
func (a *allocator) watched(c ipam.Claim) error {
	if i := a.poolOf(c.Addr); i >= 0 {
		return a.pools[i].Observe(c)
	}
	return nil
}

// learn tells the allocator of a claim that this process wrote or read.
func (a *allocator) learn(c ipam.Claim) error {
	if i := a.poolOf(c.Addr); i >= 0 {
		return a.pools[i].Learn(c)
	}
	return nil
}

// sees reports whether the view has a claim or tombstone at an address.
func (a *allocator) sees(addr netip.Addr) bool {
	i := a.poolOf(addr)
	if i < 0 {
		return false
	}
	c, err := a.pools[i].Static(addr)
	return errors.Is(err, ErrExists) || c.Replaces != 0
}

// pick is an address on its way into a commit.
type pick struct {
	ipam.Candidate
	pool   int
	static bool
}

// choose picks the addresses of a new endpoint: those asked for, and one of each other family.
func (a *allocator) choose(want []netip.Addr, attempt int) (picks []pick, err error) {
	defer func() {
		if err != nil {
			a.release(picks)
		}
	}()
	done := make(map[ipam.Family]bool)
	used := make(map[int]bool)
	for _, addr := range want {
		i := a.poolOf(addr)
		if i < 0 {
			return picks, fmt.Errorf("address %s is in none of the network's subnets: %w", addr, ErrInvalid)
		}
		if used[i] {
			return picks, fmt.Errorf("two addresses of subnet %s are asked for: %w", a.pools[i].Subnet(), ErrInvalid)
		}
		c, err := a.pools[i].Static(addr)
		if err != nil {
			return picks, err
		}
		used[i], done[ipam.FamilyOf(a.pools[i].Subnet())] = true, true
		picks = append(picks, pick{Candidate: c, pool: i, static: true})
	}
	for _, family := range []ipam.Family{ipam.IPv4, ipam.IPv6} {
		if done[family] {
			continue
		}
		p, err := a.chooseOne(family, attempt)
		if err != nil {
			return picks, err
		}
		if p != nil {
			picks = append(picks, *p)
		}
	}
	return picks, nil
}

// chooseOne picks an address from the family's first subnet that has one, or nil if the network has none of the family.
func (a *allocator) chooseOne(family ipam.Family, attempt int) (*pick, error) {
	var full []error
	for i, pool := range a.pools {
		if ipam.FamilyOf(pool.Subnet()) != family {
			continue
		}
		c, err := pool.Candidate(attempt)
		if err == nil {
			return &pick{Candidate: c, pool: i}, nil
		}
		if !errors.Is(err, ErrExhausted) {
			return nil, err
		}
		full = append(full, err)
	}
	return nil, errors.Join(full...)
}

func (a *allocator) release(picks []pick) {
	for _, p := range picks {
		if !p.static {
			a.pools[p.pool].Release(p.Candidate)
		}
	}
}

// claim adds the picks to a commit that makes id their owner.
func (b *batch) claim(n drivers.NetworkID, id drivers.EndpointID, picks []pick) {
	for _, p := range picks {
		key := keyClaim(n, p.Addr)
		b.guard(store.Guard{Key: key, Rev: store.Rev(p.Replaces)})
		b.put(put(key, claimRecord{Version: recordVersion, Endpoint: id}))
	}
}

// free adds to a commit that addresses are free. Their claims stay as tombstones until the pool lets go of them.
func (b *batch) free(n drivers.NetworkID, addrs []netip.Addr) {
	for _, addr := range addrs {
		b.put(put(keyClaim(n, addr), claimRecord{Version: recordVersion}))
	}
}

// claimAddr is the address that a claim is of. Each address has one key.
func claimAddr(key string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(path.Base(key))
	if err != nil {
		return netip.Addr{}, badRecord(key, err)
	}
	if addr.String() != path.Base(key) {
		return netip.Addr{}, badRecord(key, fmt.Errorf("the claim of %s belongs elsewhere", addr))
	}
	return addr, nil
}

// readClaim reads a claim. One that makes no sense keeps its address from being given out, as somebody may have it; the
// address of one that is of no address is the zero Addr.
func (n *Network) readClaim(raw store.Record) ipam.Claim {
	c := ipam.Claim{State: ipam.Owned, Rev: int64(raw.Rev)}
	addr, err := claimAddr(raw.Key)
	if err == nil {
		c.Addr = addr
		var r *stored[claimRecord]
		if r, err = decode[claimRecord](raw); err == nil && r.value.Endpoint == "" {
			c.State = ipam.Freed
		}
	}
	if err != nil {
		n.c.log.Error("claim of an address makes no sense", "network", n.rec.Name, "error", err)
	}
	return c
}

// prune adds to a commit the removal of tombstones that are of no more use, and returns them.
func (b *batch) prune(n drivers.NetworkID, a *allocator) []ipam.Claim {
	var all []ipam.Claim
	for _, pool := range a.pools {
		for _, c := range pool.Prune() {
			key := keyClaim(n, c.Addr)
			b.guard(store.Guard{Key: key, Rev: store.Rev(c.Rev)})
			b.op(store.Delete(key))
			all = append(all, c)
		}
	}
	return all
}

// freed tells the allocator what a commit of this process did.
func (a *allocator) freed(addrs []netip.Addr, forgotten []ipam.Claim, rev store.Rev) error {
	for _, addr := range addrs {
		if err := a.learn(ipam.Claim{Addr: addr, State: ipam.Freed, Rev: int64(rev)}); err != nil {
			return err
		}
	}
	for _, c := range forgotten {
		if err := a.learn(ipam.Claim{Addr: c.Addr, State: ipam.Absent, Rev: int64(rev)}); err != nil {
			return err
		}
	}
	return nil
}
