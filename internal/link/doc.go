// Package link is the only code of libcnm that switches network namespaces and speaks rtnetlink: namespaces, veth pairs,
// bridges, addresses, routes, sysctls, announcements, counters and change notices. It knows nothing of networks or
// sandboxes, and it keeps no state: the kernel is asked each time.
//
// Most calls take a whole wanted state and make it so: Ensure, Configure and SetRoutes find the difference themselves,
// add before they remove, and change nothing when nothing differs. Their Check twins name the differences and change
// nothing at all.
//
//	if err := link.CreateNS("/run/libcnm/netns/3f2a"); err != nil { ... }
//	ns, err := link.OpenNS("/run/libcnm/netns/3f2a")
//	host, err := link.Open(nil)
//	err = host.EnsureVeth(ctx, link.Veth{
//		Name: "cnmv0123456789a", Alias: owner.String(), Master: "cnmb0123456789", MTU: 1500,
//		Peer: link.VethPeer{Name: "eth0", NS: ns, MAC: mac},
//	})
//	inside, err := link.Open(ns)
//	err = inside.Configure(ctx, link.Interface{Name: "eth0", Addrs: addrs, Up: true})
//	err = inside.SetRoutes(ctx, []link.Route{{Dst: defaultRoute, Via: gateway, Dev: "eth0"}}, nil)
//
// # Ownership
//
// Every link made here carries an owner mark ([Owner]) as its alias, and, from the instant it exists, the mark's link
// group. The kernel does not take an alias in the request that creates a link, so a process that dies between the two
// leaves a link with our group and no alias; it still counts as ours. A link with neither is never changed or removed,
// whatever its name.
//
// Interface names are checked before they reach the kernel, which would turn "x%d" into "x0" and which iptables would
// read a trailing "+" of as a wildcard.
package link
