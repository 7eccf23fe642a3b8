package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/reliability/history"
)

// realm is a network that endpoints are made in or, without an id, the cluster that networks are made in.
type realm struct {
	name    string // of the realm in the history
	id      string
	parent  string // the network's token, if it may be deleted: its endpoints are then of the cluster's realm
	subnets []subnet
	pools   []string // for networks: the pools of its addresses, IPv4 and IPv6; none: so large that they do not run out
	static  [2][]netip.Addr
}

const cluster = "cluster"

// held is an object that a worker has, or of which it does not know whether it has it.
type held struct {
	realm *realm
	id    string
	op    history.Op // the call that acquired it, complete once that is known to have succeeded
	name  string
	from  int64 // begin of the first attempt to release it without an answer; 0: none
	looks int   // how often it was not found
}

// worker makes calls to one controller, one after the other.
type worker struct {
	run    *run
	number int
	node   *node
	random *rand.Rand
	serial int

	held   []held // acquired
	doubts []held // perhaps acquired
}

const (
	maxHeld    = 6
	maxLooks   = 3                      // then a doubtful object is left to the end of the run
	afterFault = 100 * time.Millisecond // between calls that get no answer
)

// step makes one call.
func (w *worker) step(ctx context.Context) error {
	var known bool
	var err error
	var class string
	switch dice := w.random.IntN(100); {
	case len(w.doubts) > 0 && dice < 50:
		known, err = w.settle(ctx)
	case len(w.held) == maxHeld || len(w.held) > 0 && dice < 25:
		known, err = w.release(ctx, w.random.IntN(len(w.held)))
	case dice < 30:
		known, err = w.look(ctx)
	default:
		r, req := w.plan()
		class, err = w.acquire(ctx, r, req)
		known = class != classUnknown
	}
	if err != nil {
		return fmt.Errorf("worker %d on %s: %w", w.number, w.node.name, err)
	}
	if !known {
		pause(ctx, afterFault)
	}
	return nil
}

// plan decides what to ask for.
func (w *worker) plan() (*realm, request) {
	token := w.token()
	r := w.run.realms[w.random.IntN(len(w.run.realms))]
	if r.id == "" && w.random.IntN(2) == 0 { // networks are made less often than endpoints
		r = w.run.realms[w.random.IntN(len(w.run.realms))]
	}
	if r.id == "" && w.random.IntN(3) == 0 {
		r = w.run.anyNetwork(w.random, r)
	}
	req := request{Network: r.id, Name: token, Token: token}
	if w.random.IntN(3) == 0 {
		req.Name = "n" + strconv.Itoa(w.random.IntN(w.run.names))
	}
	if r.id == "" {
		if w.random.IntN(2) == 0 {
			req.VNI = 100 + w.random.Uint32N(6)
		}
		if w.random.IntN(2) == 0 {
			req.Subnets = []subnet{{Prefix: prefix("10.200.0.0/24")}}
		}
		return r, req
	}
	if w.random.IntN(6) == 0 {
		req.MAC = drivers.MAC{2, 5: byte(w.random.IntN(4))}
	}
	for _, family := range r.static {
		if len(family) > 0 && w.random.IntN(5) == 0 {
			req.Addrs = append(req.Addrs, family[w.random.IntN(len(family))])
		}
	}
	return r, req
}

// token is a name that nobody else uses.
func (w *worker) token() string {
	w.serial++
	return fmt.Sprintf("t%d-%d", w.number, w.serial)
}

// acquire makes an endpoint or a network, and returns the class of the answer.
func (w *worker) acquire(ctx context.Context, r *realm, req request) (string, error) {
	op := history.Op{
		Client: w.number, Realm: r.name, Kind: history.Acquire, Token: req.Token, Parent: r.parent, Want: []string{r.resource(nameOf(req.Name))},
	}
	if r.id == "" {
		if req.VNI != 0 {
			op.Want = append(op.Want, vniOf(req.VNI))
		}
		if len(req.Subnets) == 0 {
			op.Pools = slices.Clone(r.pools)
		}
	} else {
		op.Pools = slices.Clone(r.pools)
		if !req.MAC.IsZero() {
			op.Want = append(op.Want, r.resource(macOf(req.MAC.String())))
		}
		for _, a := range req.Addrs {
			op.Want = append(op.Want, a.String())
			own := a.Is4()
			op.Pools = slices.DeleteFunc(op.Pools, func(p string) bool { return isIPv4(p) == own })
		}
	}
	a, err := w.node.call(ctx, "acquire", req)
	if err != nil {
		return "", err
	}
	op.Start, op.End = a.Start, a.End
	h := held{realm: r, name: req.Name, op: op}
	switch a.Class {
	case classDone:
		err = w.own(h, a)
	case classUnknown:
		w.doubts = append(w.doubts, h)
	default:
		err = w.record(op, a.Class)
	}
	return a.Class, err
}

// own takes note of an object that this worker has from now on.
func (w *worker) own(h held, a answer) error {
	h.id = a.ID
	h.op.Got = a.resources(h.realm, h.name)
	for _, want := range h.op.Want {
		if !slices.Contains(h.op.Got, want) {
			return fmt.Errorf("%s got %v", &h.op, h.op.Got)
		}
	}
	if h.realm.id != "" && h.realm.parent == "" && len(a.Addrs) != 2 {
		return fmt.Errorf("%s got addresses %v, want one of each family", &h.op, a.Addrs)
	}
	w.run.history.Add(h.op)
	w.held = append(w.held, h)
	if h.realm.id == "" && w.number >= 0 {
		w.run.publish(h)
	}
	return nil
}

// release removes an object. One of which it is not known whether it was removed stays in the list.
func (w *worker) release(ctx context.Context, i int) (bool, error) {
	h := &w.held[i]
	a, err := w.node.call(ctx, "release", request{Network: h.realm.id, ID: h.id})
	if err != nil {
		return false, err
	}
	if a.Class == classUnknown {
		if h.from == 0 {
			h.from = a.Start
		}
		return false, nil
	}
	op := history.Op{Client: w.number, Realm: h.realm.name, Kind: history.Release, Token: h.op.Token, Start: a.Start, End: a.End}
	class := a.Class
	if class == classAbsent && h.from != 0 {
		// An earlier call did it, at a moment since it began.
		class, op.Start = classDone, h.from
	}
	if class != classInUse {
		w.run.withdraw(h.op.Token)
		w.held = slices.Delete(w.held, i, i+1)
	}
	return true, w.record(op, class)
}

// settle looks whether the first of the doubtful objects is there.
func (w *worker) settle(ctx context.Context) (bool, error) {
	h := w.doubts[0]
	a, err := w.find(ctx, h.realm, h.name)
	if err != nil || a.Class == classUnknown {
		return false, err
	}
	w.doubts = w.doubts[1:]
	if a.Class == classDone && a.Token == h.op.Token {
		h.op.End = a.End
		return true, w.own(h, a)
	}
	// It may happen yet: a member that hangs may still have the request.
	if h.looks++; h.looks < maxLooks {
		w.doubts = append(w.doubts, h)
	} else {
		w.run.late(h)
	}
	return true, nil
}

// look asks for the owner of a name that many want.
func (w *worker) look(ctx context.Context) (bool, error) {
	r := w.run.realms[w.random.IntN(len(w.run.realms))]
	a, err := w.find(ctx, r, "n"+strconv.Itoa(w.random.IntN(w.run.names)))
	return a.Class != classUnknown, err
}

func (w *worker) find(ctx context.Context, r *realm, name string) (answer, error) {
	a, err := w.node.call(ctx, "find", request{Network: r.id, Name: name})
	if err != nil || a.Class == classUnknown {
		return a, err
	}
	op := history.Op{
		Client: w.number, Realm: r.name, Kind: history.Find, Want: []string{r.resource(nameOf(name))}, Token: a.Token, Start: a.Start, End: a.End,
	}
	return a, w.record(op, a.Class)
}

// record adds a call with a known outcome to the history.
func (w *worker) record(op history.Op, class string) error {
	switch class {
	case classDone:
	case classExists:
		op.Result = history.Exists
	case classExhausted:
		op.Result = history.Exhausted
	case classAbsent:
		op.Result = history.Absent
	case classInUse:
		op.Result = history.InUse
	default:
		return fmt.Errorf("%s: answer of class %q", &op, class)
	}
	w.run.history.Add(op)
	return nil
}

// drain makes sure of all that is in doubt, and releases what the worker has and wants to be rid of, on a cluster that
// works.
func (w *worker) drain(ctx context.Context, unwanted func(*held) bool) error {
	for len(w.doubts) > 0 {
		if err := w.insist(ctx, w.settle); err != nil {
			return err
		}
	}
	for i, h := range slices.Backward(w.held) {
		if !unwanted(&h) {
			continue
		}
		// What is in use stays: another worker has something in it.
		err := w.insist(ctx, func(ctx context.Context) (bool, error) { return w.release(ctx, i) })
		if err != nil {
			return err
		}
	}
	return nil
}

// insist repeats a call until it has an answer.
func (w *worker) insist(ctx context.Context, call func(context.Context) (bool, error)) error {
	for {
		known, err := call(ctx)
		if known || err != nil {
			return err
		}
		if pause(ctx, afterFault); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func nameOf(name string) string { return "name " + name }

func macOf(mac string) string { return "mac " + mac }

func vniOf(vni uint32) string { return "vni " + strconv.FormatUint(uint64(vni), 10) }

// resource is the name of something in a realm that several networks share.
func (r *realm) resource(name string) string {
	if r.parent == "" {
		return name
	}
	return r.parent + " " + name
}

// resources are all that an object owns that nobody else may.
func (a *answer) resources(r *realm, name string) []string {
	got := []string{r.resource(nameOf(name))}
	if r.id == "" {
		got = append(got, vniOf(a.VNI))
		for _, s := range a.Subnets {
			if slices.ContainsFunc(subnetPools, func(p libcnm.AddressPool) bool { return p.Base.Contains(s.Addr()) }) {
				got = append(got, s.String())
			}
		}
		return got
	}
	for _, addr := range a.Addrs {
		got = append(got, r.resource(addr.String()))
	}
	return append(got, r.resource(macOf(a.MAC)))
}
