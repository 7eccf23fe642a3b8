// Package null is the driver for sandboxes that shall have no network but their own loopback: its endpoints have no
// interface and no address. One such network serves all of a host's. There is nothing to program.
//
//	nw, err := ctrl.NewNetwork(ctx, "null", "none")
//	ep, err := nw.CreateEndpoint(ctx, "endpoint1")
//	err      = ep.Join(ctx, sb)
package null
