package history_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/history"
	"github.com/libcnm/libcnm/internal/testutil"
)

// run is workers on all controllers of a lab, and what they were answered.
type run struct {
	*lab
	history history.History
	realms  []*realm
	names   int // that many workers want, in each realm
	workers []*worker
	static  worker // has the networks that endpoints are made in

	calls   atomic.Int64 // with or without an answer
	cancel  context.CancelCauseFunc
	ctx     context.Context // ends with the first mistake
	stopped chan struct{}   // closed when the workers shall make no more calls
	working sync.WaitGroup

	mu       sync.Mutex // guards what follows
	unseen   []held     // calls without an answer whose object was not found
	networks []*realm   // that workers have made and may delete at any time
}

// rooms are the networks that endpoints are made in. In the last there is always room.
var rooms = []struct {
	name string
	sets [2]subnet
}{
	{"blue", [2]subnet{{prefix("10.1.0.0/26"), prefix("10.1.0.16/28")}, {prefix("fd01::/64"), prefix("fd01::10/124")}}},
	{"green", [2]subnet{{prefix("10.2.0.0/26"), prefix("10.2.0.16/28")}, {prefix("fd02::/64"), prefix("fd02::10/124")}}},
	{"red", [2]subnet{{prefix("10.3.0.0/24"), netip.Prefix{}}, {prefix("fd03::/64"), netip.Prefix{}}}},
}

// newRun makes the networks and a number of workers for each controller.
func newRun(l *lab, perNode int, seed uint64) *run {
	l.t.Helper()
	r := &run{lab: l, names: 8, stopped: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancelCause(l.t.Context())
	r.static = worker{run: r, number: -1, node: l.nodes[0]}
	home := &realm{name: cluster, pools: []string{"subnets IPv4", "subnets IPv6"}}
	for i, name := range home.pools {
		var subnets []string
		p := subnetPools[i]
		for base := p.Base.Addr(); p.Base.Contains(base); base = after(netip.PrefixFrom(base, p.Size)) {
			subnets = append(subnets, netip.PrefixFrom(base, p.Size).String())
		}
		r.history.Pool(name, subnets...)
	}
	r.realms = []*realm{home}
	for _, room := range rooms {
		r.realms = append(r.realms, r.open(home, room.name, room.sets))
	}
	for i, n := range l.nodes {
		for j := range perNode {
			number := i*perNode + j
			r.workers = append(r.workers, &worker{
				run: r, number: number, node: n, random: rand.New(rand.NewPCG(seed, uint64(number)+1)),
			})
		}
	}
	return r
}

// open makes a network for endpoints.
func (r *run) open(home *realm, name string, sets [2]subnet) *realm {
	r.t.Helper()
	op := history.Op{Client: -1, Realm: home.name, Token: "network " + name, Want: []string{nameOf(name)}}
	a, err := r.static.node.call(r.ctx, "acquire", request{Name: name, Token: op.Token, Subnets: sets[:]})
	if err == nil && a.Class != classDone {
		err = errors.New(a.Text)
	}
	r.must(err)
	op.Start, op.End = a.Start, a.End
	r.must(r.static.own(held{realm: home, name: name, op: op}, a))
	room := &realm{name: name, id: a.ID, subnets: sets[:]}
	for i, s := range sets {
		first := s.Prefix.Addr()
		for range 16 {
			first = first.Next()
		}
		room.static[i] = span(first, 20) // some beyond the range
		if s.Range.IsValid() {
			pool := name + " IPv4"
			if first.Is6() {
				pool = name + " IPv6"
			}
			r.history.Pool(pool, texts(span(s.Range.Addr(), 16))...)
			room.pools = append(room.pools, pool)
		}
	}
	return room
}

// start lets the workers work.
func (r *run) start() {
	for _, w := range r.workers {
		r.working.Go(func() {
			for {
				select {
				case <-r.stopped:
					return
				case <-r.ctx.Done():
					return
				default:
				}
				if err := w.step(r.ctx); err != nil && r.ctx.Err() == nil {
					r.cancel(err)
				}
				r.calls.Add(1)
			}
		})
	}
	r.t.Cleanup(func() { // after a failure
		r.cancel(context.Canceled)
		r.working.Wait()
	})
}

// stop lets the calls in progress end.
func (r *run) stop() {
	r.t.Helper()
	close(r.stopped)
	r.working.Wait()
	r.must(context.Cause(r.ctx))
}

// until waits for a condition, or for a worker's mistake.
func (r *run) until(what string, met func() bool) {
	r.t.Helper()
	err := testutil.Wait(r.ctx, patience, func() error {
		if !met() {
			return errors.New(what)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(errors.Join(context.Cause(r.ctx), err))
	}
}

// recorded waits until so many calls have a known outcome.
func (r *run) recorded(n int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d calls have an outcome", n), func() bool { return r.history.Len() >= n })
}

// during waits until so many more calls have ended, with an answer or without.
func (r *run) during(n int64) {
	r.t.Helper()
	from := r.calls.Load()
	r.until(fmt.Sprintf("%d more calls have ended", n), func() bool { return r.calls.Load() >= from+n })
}

// finish settles what is in doubt, compares the store with what the workers have, releases everything, and checks that
// nothing is left. It returns how many records were where none should be.
func (r *run) finish() (leaks int) {
	r.t.Helper()
	r.drain(func(h *held) bool { return h.from != 0 })
	st := r.store()
	read := func() *records {
		list, _, err := st.List(r.t.Context(), "")
		r.must(err)
		recs, err := readRecords(list)
		r.must(err)
		return recs
	}
	recs := read()
	problems := recs.disagreements()
	expected := map[string]held{}
	for _, w := range append(r.workers, &r.static) {
		for _, h := range w.held {
			expected[h.op.Token] = h
		}
	}
	r.adopt(recs, expected)
	for token, o := range recs.objects {
		h, ok := expected[token]
		if !ok {
			problems = append(problems, fmt.Sprintf("%s is in the store and nobody has it: %+v", token, o))
			continue
		}
		stored := o.answer.resources(h.realm, o.name)
		if !slices.Equal(slices.Sorted(slices.Values(stored)), slices.Sorted(slices.Values(h.op.Got))) {
			problems = append(problems, fmt.Sprintf("%s has %v in the store, was told %v", token, stored, h.op.Got))
		}
	}
	for token := range expected {
		if _, ok := recs.objects[token]; !ok {
			problems = append(problems, token+" is not in the store")
		}
	}
	r.empty()
	recs = read()
	problems = append(problems, recs.disagreements()...)
	problems = append(problems, recs.left(len(rooms))...)
	r.must(r.static.drain(r.ctx, func(*held) bool { return true }))
	// Leases were revoked: each controller takes its name again.
	r.until("all nodes are registered", func() bool { recs = read(); return recs.nodes == len(r.nodes) })
	problems = append(problems, recs.left(0)...)
	for _, p := range problems {
		r.t.Error(p)
	}
	return len(problems)
}

// empty releases all that the workers have: what is in networks first.
func (r *run) empty() {
	r.t.Helper()
	r.drain(func(h *held) bool { return h.realm.id != "" })
	r.drain(func(*held) bool { return true })
}

// drain does so for all workers at once.
func (r *run) drain(unwanted func(*held) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	for _, w := range r.workers {
		r.working.Go(func() {
			if err := w.drain(ctx, unwanted); err != nil {
				r.cancel(fmt.Errorf("worker %d: %w", w.number, err))
			}
		})
	}
	r.working.Wait()
	r.must(context.Cause(r.ctx))
}

// adopt gives objects that late calls made to their workers.
func (r *run) adopt(recs *records, expected map[string]held) {
	r.t.Helper()
	for _, h := range r.unseen {
		o, ok := recs.objects[h.op.Token]
		if !ok {
			continue // it never happened: nobody could have released what nobody had seen
		}
		end, err := now()
		r.must(err)
		h.id, h.op.Got, h.op.End = o.id, o.answer.resources(h.realm, o.name), end
		r.history.Add(h.op)
		expected[h.op.Token] = h
		w := r.workers[h.op.Client]
		w.held = append(w.held, h)
	}
}

// late leaves a doubtful object to the end of the run.
func (r *run) late(h held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unseen = append(r.unseen, h)
}

// publish lets other workers make endpoints in a network.
func (r *run) publish(h held) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks = append(r.networks, &realm{name: h.realm.name, id: h.id, parent: h.op.Token})
}

// withdraw ends that, though some may be about to.
func (r *run) withdraw(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks = slices.DeleteFunc(r.networks, func(n *realm) bool { return n.parent == token })
}

// anyNetwork is one of those, or otherwise if there is none.
func (r *run) anyNetwork(random *rand.Rand, otherwise *realm) *realm {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.networks) == 0 {
		return otherwise
	}
	return r.networks[random.IntN(len(r.networks))]
}

// compact forgets the past of etcd every 100 ms, as long as ctx lasts, and says how often it could.
func (r *run) compact(ctx context.Context) (times *atomic.Int64) {
	times = new(atomic.Int64)
	client := r.etcd.Client(r.t)
	once := func() error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		resp, err := client.Get(ctx, "any")
		if err != nil {
			return err
		}
		_, err = client.Compact(ctx, resp.Header.Revision)
		return err
	}
	r.working.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.stopped:
				return
			case <-tick.C:
				if once() == nil { // else there is no quorum, or nothing new
					times.Add(1)
				}
			}
		}
	})
	return times
}

func texts(addrs []netip.Addr) []string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	return list
}

// after is the first address behind a prefix.
func after(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for i := p.Bits() - 1; i >= 0; i-- { // adds one at the prefix's last bit
		raw[i/8] ^= 1 << (7 - i%8)
		if raw[i/8]&(1<<(7-i%8)) != 0 {
			break
		}
	}
	next, _ := netip.AddrFromSlice(raw)
	return next
}

func isIPv4(pool string) bool { return strings.HasSuffix(pool, "IPv4") }

func check(t *testing.T, h *history.History) (duplicates int) {
	t.Helper()
	start := time.Now()
	v := h.Check(patience)
	t.Logf("%d calls checked in %v", h.Len(), time.Since(start).Round(time.Millisecond))
	if !v.Ok() {
		t.Error(v)
	}
	return len(v.Duplicates) + len(v.Unordered)
}
