package main

import (
	"context"
	"fmt"
	"net/netip"
)

// A contender brings endpoints up and takes them down on the host where it runs. Up is a namespace, an endpoint and its
// way into the namespace; Down is all of that removed. Both are safe for concurrent use about different names.
type contender interface {
	Up(ctx context.Context, name string) error
	Down(ctx context.Context, name string) error
	Close() error
}

// setup is what a contender is opened with.
type setup struct {
	Kind     string
	DataDir  string // on the disk
	CNIDir   string // with the plugins bridge and host-local
	Node     string
	Underlay netip.Addr
	Etcd     []string // libcnm's overlay: where the cluster's store is
	Quiet    bool     // libcnm: no look at the host from time to time, which runs programs whatever endpoints there are
	Dual     bool     // libcnm: the network has an IPv6 subnet too
}

// The contenders' kinds, in the order of the tables.
const (
	kindFloor      = "floor"
	kindLibcnm     = "libcnm"
	kindLibnetwork = "libnetwork"
	kindPlain      = "libnetwork without DNS"
	kindCNI        = "cni"

	kindOverlay  = "libcnm ovs-vxlan"
	kindNetworks = "libcnm ovs-vxlan, a network for each endpoint"
)

// kinds are those that compare.
var kinds = []string{kindFloor, kindLibcnm, kindLibnetwork, kindPlain, kindCNI}

// Those that compare have one bridge with one IPv4 subnet, which is what Docker and the CNI examples do by default.
const (
	subnetText  = "10.77.0.0/16"
	gatewayText = "10.77.0.1"
	subnet6Text = "fd77::/64"
)

// open makes the contender and its network, which are there before the first endpoint is measured.
func open(ctx context.Context, s setup) (contender, error) {
	switch s.Kind {
	case kindFloor:
		return openFloor()
	case kindLibcnm, kindOverlay, kindNetworks:
		return openLibcnm(ctx, s)
	case kindLibnetwork, kindPlain:
		return openLibnetwork(ctx, s)
	case kindCNI:
		return openCNI(s)
	}
	return nil, fmt.Errorf("open contender: %q is not one of %q", s.Kind, kinds)
}
