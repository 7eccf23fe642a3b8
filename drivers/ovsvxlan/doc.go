// Package ovsvxlan is the driver for networks that span nodes: an Open vSwitch bridge on each node, VXLAN between them,
// a veth pair for each endpoint, and an anycast gateway with iptables behind it for egress.
//
//	fw, err := iptables.New(iptables.Config{})
//	driver, err := ovsvxlan.New(ovsvxlan.Config{VTEP: netip.MustParseAddr("192.0.2.1"), Firewall: fw})
//	ctrl, err := libcnm.New(ctx, libcnm.WithDriver(driver), libcnm.WithEtcd(etcd)) // New has one registered already
//	nw, err := ctrl.NewNetwork(ctx, "ovs-vxlan", "blue",
//		libcnm.WithSubnet(netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd01::/64")))
//
// # What is on the host
//
//	cnm-int             the bridge, in Open vSwitch; with the last network it goes
//	cnmv<11 digits>     the host end of an endpoint, a port of the bridge; the other end is in the sandbox
//	cnm-gw0, cnm-gw1    the way out of every network: a veth pair between the host and the bridge
//	cnm-sink            a Linux bridge that is never up; only with the netdev datapath, see below
//	CNM-* chains        see package iptables
//
// Package ovsvxlan at the top of the module has the flows. The digits are a hash of the IDs. Each link's alias says whose
// it is, see package link, and so do external_ids in Open vSwitch's database; the driver remembers nothing else between
// one process and the next. It connects to Open vSwitch when it first needs it.
//
// # Egress
//
// Networks may use the same subnets, so the host has no routes to them. Each has node-local transit addresses instead,
// out of 169.254.64.0/18 and fd6c:6962:636e:6d::/64 unless configured otherwise: the bridge translates to them, the host
// sees only them, forwards, and translates once more by MASQUERADE. Nothing on the host, nor in another network, can open
// a connection into a network this way.
//
// Like Docker, the driver switches on net.ipv4.ip_forward and net.ipv6.conf.all.forwarding when the first network that
// is not internal comes, and leaves them on. A host that learns its own IPv6 default route from router advertisements
// stops doing so when it forwards, unless accept_ra=2 is set on that interface: that is the administrator's decision.
//
// # MTU
//
// A network without an MTU gets the underlay's less 50 bytes, 70 if tunnel addresses are IPv6. Nodes should agree; Check
// names those that do not.
//
// # The netdev datapath
//
// Without the kernel's datapath Open vSwitch reads devices through packet sockets, and the host's own network stack gets
// every frame too. The driver's devices are therefore ports of cnm-sink, which swallows what the stack would get; a Linux
// bridge has at most 1023 ports, so that many endpoints fit on such a node. Checksum offload is off at the other ends.
package ovsvxlan
