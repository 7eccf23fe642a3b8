// Command orchestrator keeps a number of replicas of a command running, each in a sandbox of its own, all in one network.
// It shows how a daemon embeds libcnm. Run it as root:
//
//	orchestrator -fleet web -replicas 3 -- sleep infinity
//
// A replica without a process is replaced: a new sandbox, the endpoint and with it the addresses of the old one. When the
// orchestrator itself ends, killed or not, the replicas run on, and the next run takes them over; with another -replicas
// it starts or stops some, with 0 it stops all, and removes the network unless others use it.
//
// It keeps no state. What should be there is on its command line, and what is there the library and the kernel know.
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

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
)

func main() {
	log.SetFlags(0)
	f := &fleet{children: map[string]bool{}}
	flag.StringVar(&f.name, "fleet", "web", "`name` that the replicas' begin with, unique in the network")
	flag.StringVar(&f.networkName, "network", "fleets", "`name` of the network; made if there is none")
	flag.StringVar(&f.driver, "driver", "bridge", "network's `driver`")
	flag.IntVar(&f.replicas, "replicas", 3, "`number` of replicas")
	flag.Func("subnet", "`subnet` of the network; may be repeated; by default one of each family is chosen", func(s string) error {
		p, err := netip.ParsePrefix(s)
		f.subnets = append(f.subnets, libcnm.WithSubnet(p))
		return err
	})
	etcd := flag.String("etcd", "", "etcd's client `URLs`, separated by commas; none: networks of this host only")
	flag.Parse()
	f.command = flag.Args()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, f, *etcd)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, f *fleet, etcd string) (err error) {
	if len(f.command) == 0 && f.replicas > 0 {
		return errors.New("no command to run")
	}
	var opts []libcnm.Option
	if etcd != "" {
		opts = append(opts, libcnm.WithEtcd(clientv3.Config{Endpoints: strings.FieldsFunc(etcd, func(r rune) bool { return r == ',' })}))
	}
	// Etcd may be away when this host starts; it is waited for like everything else that comes back.
	err = retry(ctx, func() (done bool, err error) {
		f.ctrl, err = libcnm.New(ctx, opts...)
		return err == nil, err
	})
	if err != nil || f.ctrl == nil {
		return err
	}
	defer func() { err = errors.Join(err, f.ctrl.Close()) }()

	fmt.Printf("%s has %d sandboxes on this host\n", f.name, len(f.mine()))
	return retry(ctx, func() (done bool, err error) {
		if err := f.reconcile(ctx); err != nil {
			return false, err
		}
		return f.replicas == 0, nil
	})
}
