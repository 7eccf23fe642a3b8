// Package rig is what tests of drivers share: networks and endpoints by number, sandboxes configured as the controller does
// it, dumps of what a driver has on the host, and objects that only look like a driver's.
//
//	n := rig.Network(1)
//	err := d.ApplyNetwork(ctx, n)
//	a := rig.Join(t, d, rig.Endpoint(n, 10, rig.NewPath(t), "eth0"))
//	rig.Reach(t, a.NS, b.Addrs...)
package rig
