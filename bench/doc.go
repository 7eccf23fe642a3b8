// Command bench measures libcnm against its peers in one run, on one machine, in namespaces of its own:
//
//	make bench
//
// A contender is a process on a host of its own (network, mount and UTS namespaces) that brings endpoints up and takes
// them down when told: libcnm, Docker's libnetwork, the CNI plugins bridge and host-local, and the floor, which asks the
// kernel for the same by netlink and nothing else. They take turns in short blocks, in an order that rotates, so that
// whatever else the machine does meets all of them alike; before each block the kernel has finished removing the
// namespaces of the one before. Judged are ratios between contenders of the same run, never milliseconds alone.
//
// The part traffic compares streams, datagrams and pings through each driver with the same thing built by hand on hosts of
// the same kind, down to MTU, offloads and datapath. One thread has a socket in each of the two namespaces, so no program is
// started and no other has to be woken: it writes some of a stream, or some datagrams, and then reads them. It is
// on one CPU, and the daemons of Open vSwitch are on another. The two that compare have short turns one after the other; a turn
// shows what the least disturbed tenth of its exchanges took. Judged is the median of the ratios of neighbours, and turns go on
// where that is vague or near the limit, until the time is up. A target is missed when that median is beyond it. Printed too is
// an interval that has the true median in 95 of 100 cases, which a busy machine widens, and of how many figures the run is not
// sure: those with the limit within that interval.
//
// The part scale simulates clusters of up to 1,000 nodes and 30,000 endpoints, in one process beside a real etcd. Real are the
// controllers, their stores, their connections to etcd and every record and event. Simulated are the driver, which programs
// memory and says what ovs-vxlan says of itself, the containers' namespaces, and the disks of the nodes. All nodes share the
// CPUs of one machine, so the times are bounds from above.
//
// The module is nested, so that those who import libcnm never see what its peers need.
package main
