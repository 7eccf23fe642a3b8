// Package lan is a network driver outside of libcnm: it puts sandboxes straight into a physical segment, through a Linux
// bridge with the uplink as one of its ports. There is no NAT and no gateway of its own; the segment's router is the
// network's gateway. Without an uplink the network is a segment of its own on this host.
//
//	ctrl, err := libcnm.New(ctx, libcnm.WithDriver(lan.New()))
//	nw, err := ctrl.NewNetwork(ctx, "lan", "office",
//		libcnm.WithSubnet(netip.MustParsePrefix("192.168.7.0/24")),
//		libcnm.WithDriverOptions(lan.Options{Uplink: "eth1"}))
//
// It is small on purpose and complete: docs/writing-a-driver.md walks through it.
package lan
