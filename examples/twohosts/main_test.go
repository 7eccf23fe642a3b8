package main

import (
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/child"
)

func TestMain(m *testing.M) { child.Main(m, main, testutil.NeedEtcd()) }

// start runs the program on a host of the rig.
func start(t *testing.T, rig *testutil.Rig, h *testutil.Host) *child.Process {
	t.Helper()
	return child.Start(t, h, "-node", h.Name, "-underlay", h.VTEP.String(),
		"-etcd", strings.Join(rig.Etcd.Endpoints(), ","), "-join", "blue")
}

func TestTwoHosts(t *testing.T) {
	rig := testutil.NewHosts(t, 2, testutil.HostsOptions{EtcdMembers: 1})
	one, two := rig.Hosts[0], rig.Hosts[1]
	tunnelled := one.Capture(t, func(f testutil.Frame) bool { return f.Inner != nil && f.Inner.ICMPType != 0 })

	p1, p2 := start(t, rig, one), start(t, rig, two) // both make the network
	in := p1.Line("host1 is in network blue as")
	meet(p1, "host1", "host2")
	meet(p2, "host2", "host1")
	if tunnelled.Count() == 0 {
		t.Error("no ping passed the underlay in a tunnel")
	}

	// One is killed, and goes on when it is started again, with its addresses.
	p1.Kill()
	p1 = start(t, rig, one)
	if again := p1.Line("host1 is in network blue as"); again != in {
		t.Errorf("before it was killed: %s\nafter: %s", in, again)
	}
	meet(p1, "host1", "host2")

	// The first that ends leaves the network to the other, which removes it.
	p1.Interrupt()
	p1.Exit(0)
	p2.Interrupt()
	p2.Exit(0)
	left, err := rig.Etcd.Client(t).Get(t.Context(), "/libcnm/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range left.Kvs {
		switch key := string(kv.Key); {
		case strings.HasPrefix(key, "/libcnm/nodes/"): // ends with its lease, so that a restart is no loss
		case key == "/libcnm/subnets": // the cluster's only one
		default:
			t.Errorf("left in etcd: %s = %s", key, kv.Value)
		}
	}
	for _, h := range rig.Hosts {
		if bridges := h.Run(t, "ovs-vsctl", "list-br"); strings.TrimSpace(bridges) != testutil.PhysicalBridge {
			t.Errorf("%s has bridges %q", h.Name, bridges)
		}
	}
}

// meet waits until the program has reached its peer over both families.
func meet(p *child.Process, from, to string) {
	for _, family := range []string{".", ":"} {
		p.Line(fmt.Sprintf("%s reaches %s on %s at ", from, to, to), family)
	}
}

func TestBadInput(t *testing.T) {
	h := testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true}).Hosts[0]
	for _, c := range []struct {
		node, underlay, etcd string
		want                 []string
	}{
		{"", h.VTEP.String(), "http://127.0.0.1:1", []string{"node name is empty"}},
		{"host1", "10.1.1", "http://127.0.0.1:1", []string{"-underlay", "10.1.1"}},
		{"host1", "10.1.1.1", "http://127.0.0.1:1", []string{"10.1.1.1", "is on no interface"}},
		{"host1", h.VTEP.String(), "", []string{"etcd", "without endpoints"}},
	} {
		p := child.Start(t, h, "-node", c.node, "-underlay", c.underlay, "-etcd", c.etcd)
		p.Line(c.want...)
		p.Exit(1)
	}
}
