// Package storefault holds no code: its tests make the stores fail, etcd and the local file, and watch what that does to
// traffic, to calls, and to what is true afterwards.
//
//	go test ./internal/reliability/storefault                 # one round, IPv4 underlay
//	LIBCNM_FULL=1 go test ./internal/reliability/storefault   # more rounds, longer faults, both underlays
//
// Every fault is held to the same: no packet between sandboxes is lost; a call that needs the store ends within its context,
// with success or ErrUnavailable; one that does not need it succeeds; and afterwards every host is as the stores say, without
// a call. The one exception is a node that is cut off from etcd for longer than its lease and the grace: its peers must
// take it for dead, and stop sending to it until it is back.
//
// A slow disk cannot be had on every machine this runs on. What stands for it is a leader of etcd that is stopped for most
// of the time, so that its answers, and those of its followers, come late.
package storefault
