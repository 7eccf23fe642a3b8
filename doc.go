// Package libcnm is the Container Network Model as a library: networks, endpoints and sandboxes for whoever builds a
// container runtime or an orchestrator.
//
//	ctrl, err := libcnm.New(ctx)                                  // a NetworkController, one per node
//	nw, err := ctrl.NewNetwork(ctx, "bridge", "network1")         // endpoints in it reach each other
//	ep, err := nw.CreateEndpoint(ctx, "endpoint1")                // a name and addresses, not yet anywhere
//	sb, err := ctrl.NewSandbox(ctx, "container1")                 // a container's network stack
//	err = ep.Join(ctx, sb)                                        // the sandbox is now in the network
//	cmd := sb.Command(ctx, "ip", "address")                       // run something inside, or hand sb.Key() to a runtime
//
// With WithEtcd, networks of the driver "ovs-vxlan" span all nodes that use the same etcd: a sandbox on one reaches a
// sandbox on another over VXLAN tunnels between the nodes' underlay addresses.
//
// # What is kept where
//
// Networks, endpoints, names and addresses are records in a store: the data directory for networks of this node, etcd
// for those of the cluster. Each call that changes them is one transaction, so that nothing is ever half made, and an
// address belongs to exactly one endpoint however many nodes allocate at once. What is on the host follows from the
// records. New makes it so after a restart or crash, and a running controller repairs what others break, without
// disturbing traffic that works.
//
// # Errors
//
// Every error is an *Error and wraps one of the classes ErrNotFound, ErrExists, ErrInUse, ErrInvalid, ErrExhausted,
// ErrConflict, ErrUnsupported, ErrUnavailable and ErrClosed, or the context's error. A call that makes something and fails
// with any but ErrUnavailable and a context's error has changed nothing. One that removes something may fail when the
// records say already that it is gone: what is left of it on the host, the controller then removes by itself.
//
// # What it does not do
//
// It does not run containers, and it neither reads nor changes rules, interfaces or namespaces that it did not make.
package libcnm
