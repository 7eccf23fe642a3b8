package crash

import (
	"context"
	"errors"

	"github.com/libcnm/libcnm"
)

// action changes the world.
type action func(ctx context.Context, w *world) error

// operation is what a process dies in. Every case of it begins and ends with nothing but bystanders.
type operation struct {
	name   string
	driver string // the only one that it is for; empty: every one

	fresh   bool    // it is about a host that has never seen a controller
	spare   bool    // it disturbs all of its host, and therefore is on one without bystanders
	prepare action  // nil: nothing
	closed  bool    // the controller is closed then
	crash   string  // the operation in whose middle it is killed then; empty: none
	reboot  bool    // the host is rebooted then
	harm    action  // what somebody else does just before; nil: nothing
	run     action  // what is interrupted; it can be repeated as it is
	refused error   // class of a repetition's error if the operation had happened; nil: it succeeds
	holds   outcome // nil: that host and records agree is all
}

// outcome sees that what an operation is for is true.
type outcome func(ctx context.Context, w *world) (joined, error)

// The names of what operations are about. busy stands for the driver's network of bystanders.
const (
	net  = "net"
	busy = "busy"
	ep   = "ep"
	ep2  = "ep2"
	box  = "box"
	box2 = "box2"
)

var (
	inNet  = all(newNetwork(net), newEndpoint(net, ep), newSandbox(box))
	inBusy = all(newEndpoint(busy, ep), newSandbox(box))

	// inUsed has an endpoint whose addresses another one had, so that they are announced.
	inUsed = all(newNetwork(net, subnet4, subnet6), newEndpoint(net, ep2, libcnm.WithIP(addr4, addr6)), deleteEndpoint(net, ep2),
		newEndpoint(net, ep, libcnm.WithIP(addr4, addr6)), newSandbox(box))

	joinedNet  = all(inNet, join(net, ep, box))
	joinedBusy = all(inBusy, join(busy, ep, box))
	joinedBoth = all(joinedNet, newEndpoint(busy, ep2), join(busy, ep2, box))
)

var operations = []operation{
	{name: "new network", run: newNetwork(net), refused: libcnm.ErrExists, holds: hasNetwork(net)},
	{name: "new network, internal", run: newNetwork(net, libcnm.WithInternal()), refused: libcnm.ErrExists, holds: hasNetwork(net)},
	{name: "new network, IPv6", run: newNetwork(net, subnet6), refused: libcnm.ErrExists, holds: hasNetwork(net)},
	{name: "create endpoint", prepare: newNetwork(net), run: newEndpoint(net, ep), refused: libcnm.ErrExists, holds: hasEndpoint(net, ep)},
	{name: "create endpoint, its addresses", prepare: newNetwork(net, subnet4, subnet6), run: newEndpoint(net, ep, libcnm.WithIP(addr4, addr6)),
		refused: libcnm.ErrExists, holds: hasEndpoint(net, ep)},
	{name: "new sandbox", run: newSandbox(box), refused: libcnm.ErrExists, holds: hasSandbox(box)},
	{name: "new sandbox, of a runtime", prepare: newRuntimeNS, run: newSandbox(box, ofRuntime...), refused: libcnm.ErrExists, holds: hasSandbox(box)},

	{name: "join", prepare: inNet, run: join(net, ep, box), holds: isJoined(net, ep, box)},
	{name: "join, network in use", prepare: inBusy, run: join(busy, ep, box), holds: isJoined(busy, ep, box)},
	{name: "join, second network", prepare: all(joinedNet, newEndpoint(busy, ep2)), run: join(busy, ep2, box), holds: isJoined(busy, ep2, box)},
	{name: "join, two at once", prepare: all(inNet, newEndpoint(net, ep2), newSandbox(box2)),
		run: atOnce(join(net, ep, box), join(net, ep2, box2)), holds: isJoined(net, ep2, box2)},
	{name: "join, internal network", prepare: all(newNetwork(net, libcnm.WithInternal()), newEndpoint(net, ep), newSandbox(box)),
		run: join(net, ep, box), holds: isJoined(net, ep, box)},
	{name: "join, IPv6", prepare: all(newNetwork(net, subnet6), newEndpoint(net, ep), newSandbox(box)),
		run: join(net, ep, box), holds: isJoined(net, ep, box)},
	{name: "join, addresses of another before", prepare: inUsed, run: join(net, ep, box), holds: isJoined(net, ep, box)},
	{name: "join, of a runtime", prepare: all(newNetwork(net), newEndpoint(net, ep), newRuntimeNS, newSandbox(box, ofRuntime...)),
		run: join(net, ep, box), holds: isJoined(net, ep, box)},

	{name: "leave", prepare: joinedNet, run: leave(net, ep, box), holds: isFree(net, ep)},
	{name: "leave, network in use", prepare: joinedBusy, run: leave(busy, ep, box), holds: isFree(busy, ep)},
	{name: "leave, one of two", prepare: joinedBoth, run: leave(net, ep, box), holds: isJoined(busy, ep2, box)},
	{name: "leave, of a runtime", prepare: all(newNetwork(net), newEndpoint(net, ep), newRuntimeNS, newSandbox(box, ofRuntime...), join(net, ep, box)),
		run: leave(net, ep, box), holds: isFree(net, ep)},

	{name: "delete endpoint", prepare: inNet, run: deleteEndpoint(net, ep), refused: libcnm.ErrNotFound, holds: noEndpoint(net, ep)},
	{name: "delete endpoint by force", prepare: joinedNet, run: deleteEndpoint(net, ep, libcnm.WithForce()),
		refused: libcnm.ErrNotFound, holds: noEndpoint(net, ep)},
	{name: "delete endpoint by force, network in use", prepare: joinedBusy, run: deleteEndpoint(busy, ep, libcnm.WithForce()),
		refused: libcnm.ErrNotFound, holds: noEndpoint(busy, ep)},

	{name: "delete sandbox", prepare: joinedNet, run: deleteSandbox(box), refused: libcnm.ErrNotFound, holds: noSandbox(box)},
	{name: "delete sandbox, two networks", prepare: joinedBoth, run: deleteSandbox(box), refused: libcnm.ErrNotFound, holds: noSandbox(box)},
	{name: "delete sandbox, of a runtime", prepare: all(newNetwork(net), newEndpoint(net, ep), newRuntimeNS, newSandbox(box, ofRuntime...), join(net, ep, box)),
		run: deleteSandbox(box), refused: libcnm.ErrNotFound, holds: noSandbox(box)},
	{name: "delete network", prepare: newNetwork(net), run: deleteNetwork(net), refused: libcnm.ErrNotFound, holds: noNetwork(net)},

	{name: "new controller, empty host", fresh: true, closed: true, run: open},
	{name: "first use", fresh: true, run: ensure(newNetwork(net), newEndpoint(net, ep), newSandbox(box), join(net, ep, box)),
		holds: isJoined(net, ep, box)},
	{name: "last use", fresh: true, prepare: joinedNet,
		run: tolerate(libcnm.ErrNotFound, deleteSandbox(box), deleteEndpoint(net, ep), deleteNetwork(net)), holds: noNetwork(net)},
	{name: "new controller", prepare: joinedNet, closed: true, run: open, holds: isJoined(net, ep, box)},
	{name: "new controller, addresses of another before", prepare: all(inUsed, join(net, ep, box)), closed: true, run: open, holds: isJoined(net, ep, box)},
	{name: "new controller, after a join's death", prepare: inNet, crash: "join", run: open},
	{name: "new controller, after a leave's death", prepare: joinedNet, crash: "leave", run: open},
	{name: "new controller, after a sandbox's death", prepare: joinedBoth, crash: "delete sandbox, two networks", run: open},
	{name: "new controller, after a reboot", spare: true, prepare: joinedNet, closed: true, reboot: true, run: open, holds: isRebooted(net, ep)},

	{name: "reconcile, interface gone", prepare: joinedBusy, harm: loseInterface(box), run: reconcile, holds: isJoined(busy, ep, box)},
	{name: "reconcile, interface changed", prepare: all(inUsed, join(net, ep, box)), harm: changeInterface(box), run: reconcile,
		holds: isJoined(net, ep, box)},
	{name: "reconcile, namespace gone", prepare: joinedBusy, harm: loseNamespace(box), run: reconcile, holds: isJoined(busy, ep, box)},
	{name: "reconcile, rules gone", spare: true, prepare: joinedNet, harm: loseRules, run: reconcile, holds: isJoined(net, ep, box)},
	{name: "reconcile, bridge gone", spare: true, prepare: joinedNet, harm: loseBridge, run: reconcile, holds: isJoined(net, ep, box)},
	{name: "reconcile, flows gone", driver: "ovs-vxlan", spare: true, prepare: joinedNet, harm: loseFlows, run: reconcile, holds: isJoined(net, ep, box)},

	{name: "close", prepare: joinedNet, run: func(_ context.Context, w *world) error { return w.close() }, holds: isClosed},
}

func open(ctx context.Context, w *world) error { return w.open(ctx) }

func reconcile(ctx context.Context, w *world) error { return w.ctrl.Reconcile(ctx) }

// all does one after the other.
func all(list ...action) action {
	return func(ctx context.Context, w *world) error {
		for _, do := range list {
			if err := do(ctx, w); err != nil {
				return err
			}
		}
		return nil
	}
}

// ensure is all for what may be there already.
func ensure(list ...action) action { return tolerate(libcnm.ErrExists, list...) }

// tolerate is all, with errors of a class as successes.
func tolerate(class error, list ...action) action {
	return func(ctx context.Context, w *world) error {
		for _, do := range list {
			if err := do(ctx, w); err != nil && !errors.Is(err, class) {
				return err
			}
		}
		return nil
	}
}

// atOnce does two things side by side.
func atOnce(one, two action) action {
	return func(ctx context.Context, w *world) error {
		first := make(chan error, 1)
		go func() { first <- one(ctx, w) }()
		err := two(ctx, w)
		return errors.Join(err, <-first)
	}
}
