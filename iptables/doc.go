// Package iptables keeps a host's iptables rules equal to what its networks need, in IPv4 and IPv6 at once: egress with
// MASQUERADE, isolation between networks, and nobody but the kernel on the tunnels' ports. It knows interfaces, subnets
// and addresses; it makes none of them, and sets no sysctl: that packets are forwarded at all is the caller's business.
//
//	fw, err := iptables.New(iptables.Config{})       // the system's iptables and ip6tables
//	err = fw.Sync(ctx, iptables.Spec{                // at start: repair, and delete what an earlier process left
//		Owner: "bridge",
//		Networks: []iptables.Network{{
//			ID: id, Interface: "cnmb0a1b2c3d4e", Masquerade: true,
//			Subnets:  []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")},
//			Gateways: []netip.Addr{netip.MustParseAddr("10.1.0.1")},
//		}},
//	})
//	err = fw.Set(ctx, "bridge", other)               // later: one network at a time
//	err = fw.Remove(ctx, "bridge", other.ID)
//
// # What is allowed
//
// Every interface of a network has a name that begins with "cnm" ([Prefix]), so most rules need no network's name.
//
//	from                         to                            verdict
//	a network                    itself, by its own bridge     accepted
//	a network                    another network               dropped, both ways, established or not
//	a network                    elsewhere                     accepted; MASQUERADE if asked for
//	elsewhere                    a network                     dropped, except replies to the network's own connections
//	an internal network          anywhere else, and back       dropped, established or not
//	a network                    its own gateway on the host   up to the host's INPUT rules
//	a network                    another network's gateway     dropped
//	a network                    the host's other addresses    up to the host's INPUT rules, internal or not
//	a network                    a tunnel port, anywhere       dropped (see Spec.TunnelPorts)
//	a process of the host        a tunnel port, anywhere       dropped, root's too, loopback too
//	elsewhere                    a tunnel port elsewhere       never under the host's address
//	elsewhere                    a network's gateway           up to the host's INPUT rules
//	the host                     a network                     accepted
//	anyone, as of a network      the host, or through it       dropped, unless it comes from that network's interface
//
// The last row is about source addresses: the answers to a packet under a network's address go to that network, whoever
// sent it. For the same reason what leaves a network bears an address of its subnets, or is dropped.
//
// An internal network is like Docker's: nothing is forwarded, the gateway address can be reached. A sandbox that may
// change its routes reaches other addresses of the host by way of it as well.
//
// A reply is a packet in a connection's reply direction. So nothing more arrives of a connection that someone opened into
// a network while all rules were flushed, and nothing either way of one between two networks.
//
// What a socket of the host sends into a VXLAN device still belongs to that socket when the kernel sends it on, and that
// includes the kernel's own sockets, for neighbour discovery say. So an administrator's own VXLAN device with an address
// of the host on it needs another UDP port than Spec.TunnelPorts; one that only carries others' frames does not.
//
// # Chains
//
// FORWARD leads to CNM-FORWARD, INPUT to CNM-INPUT, POSTROUTING to CNM-POSTROUTING, by rules with the comment "libcnm"
// that are put first when they are missing and left where they are when they are not. Rules per network carry the
// comment "libcnm:owner:network".
//
// CNM-USER, in the filter table, is for the administrator. It is evaluated before anything else in CNM-FORWARD, so its
// ACCEPT and DROP win over all of the above but the tunnel ports. It is made when missing, never flushed, and deleted
// with the last network only if it is empty; if it is not, its rules stay in force. Chains whose names begin with
// CNM-USER are the administrator's too. All other chains that begin with CNM- are this package's: what others put there
// is removed. Everything else in the tables is never touched.
//
// # How changes are made
//
// Compile is a pure function from specs to a ruleset. A change of one network becomes a few lines that are added and
// deleted, additions first. Whatever waits while a restore runs goes into the next one: one iptables-restore --noflush
// per family and batch. If that fails, or a table is used for the first or last time, the rules are read back and what
// differs is repaired. If that fails too, twice, the changes of the batch are tried one by one,
// and only those that fail alone are refused. Both families run at the same time, so an error may leave one changed; the
// next call, whatever it is, reads both back and repairs.
package iptables
