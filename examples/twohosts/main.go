// Command twohosts puts one container of this host into a network that spans hosts, and pings every container that others
// put there. Start it as root on two or more hosts that reach each other and one etcd, each with Open vSwitch:
//
//	twohosts -node host1 -underlay 192.0.2.1 -etcd http://192.0.2.9:2379 -join blue
//	twohosts -node host2 -underlay 192.0.2.2 -etcd http://192.0.2.9:2379 -join blue
//
// An interrupt takes the container out again. A program that was killed goes on where it was when it is started again:
// the container, its addresses and its connections outlive it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
)

func main() {
	log.SetFlags(0)
	node := flag.String("node", "", "`name` of this host, unique in the cluster")
	underlay := flag.String("underlay", "", "`address` of this host that the others send tunnel packets to")
	etcd := flag.String("etcd", "", "etcd's client `URLs`, separated by commas")
	join := flag.String("join", "blue", "`name` of the network to join; made if there is none")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *node, *underlay, strings.FieldsFunc(*etcd, func(r rune) bool { return r == ',' }), *join)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, node, underlay string, etcd []string, network string) (err error) {
	addr, err := netip.ParseAddr(underlay)
	if err != nil {
		return fmt.Errorf("-underlay: %w", err)
	}
	ctrl, err := libcnm.New(ctx, libcnm.WithNode(node, addr), libcnm.WithEtcd(clientv3.Config{Endpoints: etcd}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ctrl.Close()) }()

	m, err := enter(ctx, ctrl, network, node)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, m.quit(ctx))
	}()
	fmt.Printf("%s is in network %s as %s\n", node, network, m.endpoint.Info().Addresses)
	m.greet(ctx)
	return nil
}
