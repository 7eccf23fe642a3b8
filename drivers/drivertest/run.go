package drivertest

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libcnm/libcnm/drivers"
)

// Factory makes a host that carries nothing of the driver under test. The suite calls it once for each law, never two
// at a time, and leaves the host clean; so it may return the same host again. Resources are released by tb.Cleanup.
type Factory func(tb testing.TB) Host

// Host is one machine as the suite sees it. The functions end the test by tb when they cannot do their work.
type Host struct {
	// Open makes a driver as a process that has just started would. The suite calls it several times for one
	// host, also while an earlier driver was neither closed nor will be used again: that one has crashed.
	Open func() (drivers.Driver, error)

	// NewSandbox makes an empty sandbox.
	NewSandbox func() Sandbox

	// Dump renders everything the driver has on this host and in the sandboxes, one object a line, sorted, without
	// what differs between two equal states (counters, interface indexes). It is empty when there is nothing.
	Dump func() string

	// Adapt changes a state of the suite to what the driver needs: options, a VNI, tunnel addresses. It must give
	// the same answer for the same state. Nil changes nothing.
	Adapt func(*drivers.NetworkState)

	// Bystander puts objects on the host that look like the driver's but belong to somebody else, and returns a
	// dump of them alone. They are not part of Dump. Nil: the law about other people's objects is skipped.
	Bystander func() (dump func() string)

	// Damage lists ways to break the state behind the driver's back. Without any, Check is only tried against
	// states that differ as a whole.
	Damage []Damage

	// Slow is for drivers whose calls take tens of milliseconds or more. Of the states and the transitions between them,
	// the places to interrupt a call, the orders of arrival and the kinds of damage, each run then tries a random part,
	// which Seed repeats. What a state looks like when it is built from nothing is found out once, so equal states must have
	// equal dumps on all hosts of the factory.
	Slow bool

	// Seed repeats a random walk that failed; 0 chooses one and prints it on failure.
	Seed uint64
}

// Sandbox is a namespace that endpoints join.
type Sandbox struct {
	NetNS  string // its path, for drivers.Endpoint
	Delete func() // destroys it under the driver; nil: the law about vanished sandboxes is skipped
}

// Damage is a fault that Check must notice and Sync must repair.
type Damage struct {
	Name string
	// Break damages the host, which is in the given state: one network with one endpoint, and peers for drivers
	// that have them.
	Break func(drivers.NetworkState)
}

// Run holds the driver against every law, each as a subtest.
func Run(t *testing.T, f Factory) {
	t.Helper()
	s := &suite{factory: f, settle: 10 * time.Second}
	for _, l := range laws() {
		t.Run(l.name, func(t *testing.T) { s.hold(t, l) })
	}
}

// suite is one run.
type suite struct {
	factory Factory
	settle  time.Duration // bounds the wait for what the kernel does some time after the call that asked for it
	dumps   []string      // of world.states, once they are known
}

// law is one promise of the driver contract.
type law struct {
	name  string
	why   string // printed when the law is broken
	check func(e *env)
}

func laws() []law {
	var all []law
	for _, group := range [][]law{
		validateLaws(), applyLaws(), removeLaws(), syncLaws(), checkLaws(), contextLaws(), peerLaws(), closeLaws(),
	} {
		all = append(all, group...)
	}
	return all
}

// hold checks one law on a fresh host and explains it when it is broken.
func (s *suite) hold(tb testing.TB, l law) {
	tb.Helper()
	host := s.factory(tb)
	seed := host.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	e := &env{
		TB:    tb,
		suite: s,
		host:  host,
		ctx:   context.WithoutCancel(tb.Context()),
		rnd:   rand.New(rand.NewPCG(seed, 0)),
	}
	// Registered after the factory's own cleanups, so it runs before them, while the host still stands.
	tb.Cleanup(func() {
		e.tidy()
		if tb.Failed() {
			tb.Logf("law %s: %s (repeat with Host.Seed %d)", l.name, l.why, seed)
		}
	})
	if dump := host.Dump(); dump != "" {
		tb.Fatalf("the factory's host is not clean:\n%s", dump)
	}
	e.d = e.open()
	e.world = newWorld(e)
	l.check(e)
}
