// Package demo is what `make demo` runs: libcnm at work on three hosts, each with its own Open vSwitch and its own
// controller process, with a three-member etcd between them.
//
//	func main() { os.Exit(demo.Main()) }
//
// Every statement it prints is something it has looked at, and its exit status is 0 only if all of it was as expected:
//
//	build     networks "blue" and "green" with the same addresses, and a bridge network "lan" on each host
//	matrix    who reaches whom, by asking each sandbox's responder for its name
//	traffic   a TCP transfer per driver, and what the underlay carried meanwhile
//	kill      a controller process killed and started again while pings run
//	move      a container that goes to another host with its addresses
//	flush     the hosts without any firewall rule
//	remove    nothing of libcnm is left on the hosts, nor of the demonstration on the machine
//
// It is not a test of the library: those say where a fault is, the demonstration only that there is one.
package demo
