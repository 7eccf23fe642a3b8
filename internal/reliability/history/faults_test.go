package history_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/testutil"
)

// fault is something that goes wrong while the workers work, and ends.
type fault struct {
	name   string
	strike func(*run)
}

// How many calls a fault lasts.
const (
	few  = 20
	some = 60
)

var faults = []fault{
	{"leader killed", func(r *run) { r.memberDies(r.leader()) }},
	{"follower killed", func(r *run) { r.memberDies(r.follower()) }},
	{"all members killed", (*run).allMembersDie},
	{"leader hangs", func(r *run) { r.memberHangs(r.leader()) }},
	{"follower hangs", func(r *run) { r.memberHangs(r.follower()) }},
	{"leader resigns", (*run).leaderResigns},
	{"leader parted from members", func(r *run) { r.memberParted(r.leader()) }},
	{"follower parted from members", func(r *run) { r.memberParted(r.follower()) }},
	{"controller parted from etcd", (*run).controllerParted},
	{"answers of etcd lost", (*run).answersLost},
	{"packets lost", (*run).packetsLost},
	{"controllers killed", (*run).controllersDie},
	{"controller hangs", (*run).controllerHangs},
	{"leases lost", (*run).leasesLost},
	{"etcd full", (*run).etcdFull},
}

func (r *run) leader() int {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	return r.etcd.Leader(ctx, r.t)
}

func (r *run) follower() int {
	n := len(r.machines)
	return (r.leader() + 1 + r.random.IntN(n-1)) % n
}

func (r *run) anyNode() *node { return r.nodes[r.random.IntN(len(r.nodes))] }

// unanswered waits until calls to the controller have got no answer.
func (r *run) unanswered(n *node) {
	from := n.unknown.Load()
	r.until("a call to "+n.name+" gets no answer", func() bool { return n.unknown.Load() > from })
}

func (r *run) memberDies(i int) {
	r.etcd.Kill(i)
	r.during(some)
	r.etcd.Start(i)
}

func (r *run) allMembersDie() {
	for i := range r.machines {
		r.etcd.Kill(i)
	}
	r.unanswered(r.anyNode())
	r.etcd.Start()
}

func (r *run) memberHangs(i int) {
	r.etcd.Pause(i)
	r.during(some)
	r.etcd.Resume(i)
}

func (r *run) leaderResigns() {
	client := r.etcd.Client(r.t)
	r.admin(func(ctx context.Context) error {
		leader, heir := r.leader(), r.follower()
		if leader == heir {
			return errors.New("the leader has changed by itself")
		}
		status, err := client.Status(ctx, r.etcd.Endpoints()[heir])
		if err != nil {
			return err
		}
		client.SetEndpoints(r.etcd.Endpoints()[leader])
		_, err = client.MoveLeader(ctx, status.Header.MemberId)
		return err
	})
}

// admin repeats what an operator does to a cluster until it succeeds: a busy one may change its leader meanwhile.
func (r *run) admin(do func(ctx context.Context) error) {
	r.t.Helper()
	err := testutil.Wait(r.ctx, patience, func() error {
		ctx, cancel := context.WithTimeout(r.ctx, patience/4)
		defer cancel()
		return do(ctx)
	})
	if err != nil {
		r.t.Fatal(errors.Join(context.Cause(r.ctx), err))
	}
}

// memberParted keeps a member from the others, though not from the controllers.
func (r *run) memberParted(i int) {
	rule := func(change string) {
		for j, other := range r.machines {
			if j != i {
				r.machines[i].Run(r.t, "iptables", "--wait", change, "INPUT", "-s", other.Addr4.String(), "-j", "DROP")
				r.machines[i].Run(r.t, "iptables", "--wait", change, "OUTPUT", "-d", other.Addr4.String(), "-j", "DROP")
			}
		}
	}
	rule("-A")
	r.during(some)
	rule("-D")
}

func (r *run) controllerParted() {
	n := r.anyNode()
	n.host.Cut(r.t)
	r.unanswered(n)
	n.host.Restore(r.t)
}

// answersLost lets what the controller sends reach etcd, and nothing come back.
func (r *run) answersLost() {
	n := r.anyNode()
	rule := []string{"INPUT", "-p", "tcp", "--sport", "2379", "-j", "DROP"}
	n.host.Run(r.t, "iptables", append([]string{"--wait", "-A"}, rule...)...)
	r.unanswered(n)
	n.host.Run(r.t, "iptables", append([]string{"--wait", "-D"}, rule...)...)
}

// packetsLost makes connections of half of the controllers slow: what is lost is sent again later.
func (r *run) packetsLost() {
	rule := func(change string) {
		for _, n := range r.nodes[:(len(r.nodes)+1)/2] {
			for _, chain := range []string{"INPUT", "OUTPUT"} {
				n.host.Run(r.t, "iptables", "--wait", change, chain, "-m", "statistic", "--mode", "random",
					"--probability", "0.25", "-j", "DROP")
			}
		}
	}
	rule("-A")
	r.during(2 * some)
	rule("-D")
}

// controllersDie kills some of them, one after the other, in the middle of their calls.
func (r *run) controllersDie() {
	for _, i := range r.random.Perm(len(r.nodes))[:3] {
		n := r.nodes[i]
		n.down()
		n.host.Kill9(r.t)
		n.host.Start(r.t)
		r.must(r.openNode(n))
		r.during(few)
	}
}

// controllerHangs lets the others do what it does not see before it goes on.
func (r *run) controllerHangs() {
	n := r.anyNode()
	n.host.Pause(r.t)
	r.during(2 * some)
	n.host.Resume(r.t)
}

// leasesLost ends all leases, as a hang of their owners for longer than their time to live does.
func (r *run) leasesLost() {
	client := r.etcd.Client(r.t)
	r.admin(func(ctx context.Context) error {
		leases, err := client.Leases(ctx)
		if err != nil {
			return err
		}
		for _, l := range leases.Leases {
			if _, err := client.Revoke(ctx, l.ID); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
		}
		return nil
	})
	r.during(few)
}

// etcdFull writes what does not belong to the controllers until nothing more fits, and does then what an operator does.
func (r *run) etcdFull() {
	const junk = "/junk/"
	client := r.etcd.Client(r.t)
	value := string(make([]byte, 1<<20))
	for i, full := 0, false; !full; i++ {
		r.admin(func(ctx context.Context) error {
			_, err := client.Put(ctx, junk+strconv.Itoa(i), value)
			if full = errors.Is(err, rpctypes.ErrNoSpace); full {
				return nil
			}
			return err
		})
	}
	r.during(few)
	r.admin(func(ctx context.Context) error {
		gone, err := client.Delete(ctx, junk, clientv3.WithPrefix()) // a full etcd still deletes
		if err != nil {
			return err
		}
		_, err = client.Compact(ctx, gone.Header.Revision, clientv3.WithCompactPhysical())
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		for _, url := range r.etcd.Endpoints() {
			if _, err := client.Defragment(ctx, url); err != nil {
				return err
			}
		}
		_, err = client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
		return err
	})
}

// shuffled returns n of the faults, all of them if n is their number, in a random order.
func shuffled(random *rand.Rand, n int) []fault {
	var list []fault
	for _, i := range random.Perm(len(faults))[:n] {
		list = append(list, faults[i])
	}
	return list
}

// settled waits until etcd has a leader again and answers, so that one fault ends before the next begins.
func (r *run) settled() {
	client := r.etcd.Client(r.t)
	r.admin(func(ctx context.Context) error { _, err := client.Get(ctx, "any"); return err })
}
