// Package audit compares what the stores say of a host with everything that is on it, without the controller's help: what
// it looks at it reads by itself, and what should be there it works out from the records anew. Only the two compilers,
// of flows and of rules, are the library's; they are pure and tested by themselves.
//
//	found, err := audit.Run(ctx, audit.Host{
//		Node: "host1", DataDir: "/var/lib/libcnm", RunDir: "/run/libcnm",
//		Cluster: etcd, OVSDB: "unix:/run/openvswitch/db.sock",
//	})
//	for _, f := range found {
//		t.Errorf("host1: %s", f) // "stray link cnmv0123456789a: alias libcnm:bridge:endpoint:..., and no such endpoint"
//	}
//
// It is for a moment at which nothing is being changed: a call in progress looks like a leak. What carries no mark of
// libcnm, and stands where nothing of libcnm's belongs, is not looked at.
package audit
