// Package hostfault has no code but its tests: they take away, one after the other, what a controller relies on at its
// host - switch daemons, rules, links, addresses, routes, namespaces, the kernel's whole memory - and measure how long it
// takes until nobody can tell any more.
//
// A fault is a row of a table. The test injects it while pings run, and demands that the host is back within five
// seconds without a call, that traffic which the fault does not concern lost nothing, and that no packet came into
// another network meanwhile:
//
//	w := newBridgeWorld(t)
//	w.try(t, fault{
//		name: "bridge set down",
//		do:   func(t *testing.T) { w.host.NS.LinkDown(t, w.red.bridge) },
//		hurt: []route{between(w.red1, w.red2)},
//		calm: []route{between(w.blue1, w.blue2)},
//	})
package hostfault
