// Package bridge is the driver for networks of one host: a Linux bridge for each network, a veth pair for each endpoint,
// and iptables for egress and isolation. It does for libcnm what the bridge driver did for Docker.
//
//	fw, err := iptables.New(iptables.Config{})
//	driver, err := bridge.New(bridge.Config{Firewall: fw})
//	ctrl, err := libcnm.New(ctx, libcnm.WithDriver(driver)) // New has one registered already
//	nw, err := ctrl.NewNetwork(ctx, "bridge", "web",
//		libcnm.WithSubnet(netip.MustParsePrefix("10.1.0.0/24")),
//		libcnm.WithDriverOptions(bridge.Options{DisableMasquerade: true}))
//
// # What is on the host
//
//	cnmb<10 digits>   the bridge: no spanning tree, a MAC of its own that never changes, the gateway addresses
//	cnmv<11 digits>   the host end of an endpoint, a port of the bridge; the other end is in the sandbox
//	CNM-* chains      see package iptables
//	ip rules          5207 and 5208, of protocol 207, for each bridge, and blackholes in table 6516333: networks stay
//	                  apart also while somebody has flushed the firewall
//
// The digits are a hash of the IDs. Each link's alias says whose it is, see package link; the driver remembers nothing
// else between one process and the next.
//
// # Forwarding
//
// Like Docker, the driver switches on net.ipv4.ip_forward and, for networks with an IPv6 subnet,
// net.ipv6.conf.all.forwarding when the first network that is not internal is made, and leaves them on. A host that
// learns its own IPv6 default route from router advertisements stops doing so when it forwards, unless accept_ra=2 is
// set on that interface: that is the administrator's decision.
//
// # MTU
//
// A network without an MTU gets that of the interface the default route leads to, or 1500 where there is no such route.
//
// A bridge has at most 1023 ports; the endpoint after that is ErrExhausted.
package bridge
