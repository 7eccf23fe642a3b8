// Package host is the driver whose one network is the host's own: its endpoints have no interface and no address, and
// join only sandboxes that use the host's network namespace. There is nothing to program.
//
//	nw, err := ctrl.NewNetwork(ctx, "host", "host")
//	ep, err := nw.CreateEndpoint(ctx, "endpoint1")
//	sb, err := ctrl.NewSandbox(ctx, containerID, libcnm.WithHostNetwork())
//	err      = ep.Join(ctx, sb)
package host
