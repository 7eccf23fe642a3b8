// Package deps pins modules while the tree is being built.
package deps

import (
	_ "github.com/coreos/go-iptables/iptables"
	_ "github.com/digitalocean/go-openvswitch/ovs"
	_ "github.com/go-logr/logr"
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/ovn-kubernetes/libovsdb/cache"
	_ "github.com/ovn-kubernetes/libovsdb/client"
	_ "github.com/ovn-kubernetes/libovsdb/model"
	_ "github.com/ovn-kubernetes/libovsdb/ovsdb"
	_ "github.com/vishvananda/netlink"
	_ "github.com/vishvananda/netns"
	_ "go.etcd.io/bbolt"
	_ "go.etcd.io/etcd/client/v3"
	_ "go.etcd.io/etcd/client/v3/namespace"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/tools/txtar"
)
