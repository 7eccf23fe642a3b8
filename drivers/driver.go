// Package drivers is the contract between libcnm and whatever programs one kind of network on this host.
//
// The controller owns names, addresses, VNIs and the decision who is joined where; it keeps them in its stores. A
// driver keeps nothing durable: it is told what should be true of this host and makes it so. Everything it puts on the
// host carries an owner mark, so that after a crash [Driver.Sync] can tell its own leftovers from other people's
// objects without any memory.
//
// The life of a network on one host:
//
//	Validate        NewNetwork asks: are these options, subnets and MTU usable? Pure.
//	ApplyNetwork    local scope: when the network is made; cluster scope: before the first endpoint joins here
//	ApplyEndpoint   each Join: make the host half and put an interface into the sandbox's namespace
//	ApplyPeers      cluster scope: endpoints on other nodes come and go
//	RemoveEndpoint  each Leave
//	RemoveNetwork   local scope: the network is deleted; cluster scope: the last endpoint left this host
//	Sync, Check     at start, after a fault, and from time to time
//
// The conformance suite in drivers/drivertest says the same as executable laws. docs/writing-a-driver.md is a guide.
package drivers

import (
	"context"
)

// Driver programs one kind of network on this host.
//
// Methods are safe for concurrent use and idempotent: applying equal state twice changes nothing, removing what is
// absent succeeds. The controller calls the methods for one endpoint one after the other, those of different endpoints
// in parallel, and never calls Sync while an Apply or Remove of the same driver runs. Errors wrap the classes of
// package libcnm (also here as ErrInvalid and so on). A method whose context has ended returns that context's error.
// A failed Apply may leave part of its work behind; the controller repeats it, removes the object, or calls Sync.
type Driver interface {
	// Info describes the driver. It is constant and cheap.
	Info() Info
	// Validate reports whether the network can be built by this driver. It reads only n, never the host, and
	// returns ErrInvalid naming the offending part.
	Validate(n Network) error
	// ApplyNetwork makes the network exist on this host.
	ApplyNetwork(ctx context.Context, n Network) error
	// RemoveNetwork removes the network and everything in it from this host.
	RemoveNetwork(ctx context.Context, id NetworkID) error
	// ApplyEndpoint makes the host half of the endpoint and its interface inside ep.NetNS, down and without
	// addresses; the controller configures and raises it. The network has been applied before.
	ApplyEndpoint(ctx context.Context, ep Endpoint) (Attachment, error)
	// RemoveEndpoint removes both halves. The sandbox's namespace may be gone already.
	RemoveEndpoint(ctx context.Context, n NetworkID, ep EndpointID) error
	// Sync makes the host equal to want: repairs what differs, deletes objects that carry this driver's owner
	// mark and are not wanted, leaves everything else alone and healthy traffic undisturbed.
	//
	// If a controller's first Sync is ErrUnavailable, because what the driver needs does not answer, then it is tried
	// again every second, and nothing but Sync, Check, removals and Close is called until it succeeds.
	Sync(ctx context.Context, want []NetworkState) error
	// Check names every difference between the host and want. It changes nothing.
	Check(ctx context.Context, want []NetworkState) ([]Drift, error)
	// Close releases connections and goroutines. The data plane keeps running.
	Close() error
}

// PeerApplier is implemented by drivers whose networks span nodes. Peers of a network are applied only between
// ApplyNetwork and RemoveNetwork.
type PeerApplier interface {
	// ApplyPeers makes endpoints on other nodes reachable, or unreachable. See PeerUpdate for the order rules.
	//
	// A peer that this host could never reach (its tunnel address is of the wrong family, one of its addresses is
	// in no subnet) must not keep others from being reached: it is left out, what was known of it before is gone, the
	// rest of the update is applied, and the error is ErrInvalid and names it. The same goes for members, and for
	// peers and members in a Sync; Check reports them. Repeating the update will not help.
	ApplyPeers(ctx context.Context, n NetworkID, u PeerUpdate) error
}

// Settler is implemented by drivers whose data plane is disturbed for an instant when the interface inside the sandbox comes
// up, which is after ApplyEndpoint.
type Settler interface {
	// Settle returns when packets to and from endpoints whose interfaces are up already find the data plane as it will stay.
	Settle(ctx context.Context) error
}

// Notifier is implemented by drivers that learn by themselves that the host lost state (a switch daemon restarted).
type Notifier interface {
	// Events delivers a reason each time the controller should call Sync. It is closed by Close.
	Events() <-chan string
}

// Wrapper is implemented by drivers that decorate another, so that As can find optional interfaces below.
type Wrapper interface {
	Unwrap() Driver
}

// As finds the first driver in d's chain of wrappers that implements T.
func As[T any](d Driver) (T, bool) {
	for d != nil {
		if t, ok := d.(T); ok {
			return t, true
		}
		w, ok := d.(Wrapper)
		if !ok {
			break
		}
		d = w.Unwrap()
	}
	var zero T
	return zero, false
}
