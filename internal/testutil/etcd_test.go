package testutil_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const etcdPatience = 30 * time.Second

func TestEtcdClusterWithTLS(t *testing.T) {
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{Members: 3, TLS: true})
	client := cluster.Client(t)
	put := func() error {
		_, err := client.Put(t.Context(), "key", "value")
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	leader := cluster.Leader(t.Context(), t)
	cluster.Stop(leader)
	testutil.Eventually(t, etcdPatience, put)
	if next := cluster.Leader(t.Context(), t); next == leader {
		t.Errorf("member %d leads although it was stopped", next)
	}
	cluster.Start(leader)
	for i := range 3 {
		cluster.Kill(i)
	}
	cluster.Start()
	testutil.Eventually(t, etcdPatience, func() error {
		resp, err := client.Get(t.Context(), "key")
		if err == nil && len(resp.Kvs) != 1 {
			err = fmt.Errorf("%d keys after all members were killed, want 1", len(resp.Kvs))
		}
		return err
	})
}

func TestEtcdAtAddressesAndWrapped(t *testing.T) {
	var wrapped atomic.Int64
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{
		Addrs: []string{"::1", "127.0.0.1", "127.0.0.2"},
		Wrap: func(member int, cmd *exec.Cmd) {
			wrapped.Add(1)
			cmd.Args = append([]string{"nice", "-n", "1", cmd.Path}, cmd.Args[1:]...)
			cmd.Path, cmd.Err = exec.LookPath("nice")
		},
	})
	if got, want := strings.Join(cluster.Endpoints(), " "), "http://[::1]:2379 http://127.0.0.1:2379 http://127.0.0.2:2379"; got != want {
		t.Errorf("endpoints are %s, want %s", got, want)
	}
	if n := wrapped.Load(); n != 3 {
		t.Errorf("%d commands were wrapped, want 3", n)
	}
	if _, err := cluster.Client(t).Put(t.Context(), "key", "value"); err != nil {
		t.Error(err)
	}
}
