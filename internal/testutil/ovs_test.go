package testutil_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

func TestOVS(t *testing.T) {
	testutil.NoLeaks(t)
	t.Cleanup(func() {
		if _, err := net.InterfaceByName("br0"); err == nil {
			t.Error("br0 outlives its Open vSwitch")
		}
	})
	ovs := testutil.StartOVS(t, testutil.OVSOptions{})
	ovs.Vsctl(t, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail_mode=secure")
	ovs.Ofctl(t, "add-flow", "br0", "priority=5,actions=drop")
	if flows := ovs.Ofctl(t, "dump-flows", "br0"); !strings.Contains(flows, "priority=5") {
		t.Errorf("the flow is not there:\n%s", flows)
	}
	path := strings.TrimPrefix(ovs.Endpoint(), "unix:")
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}

	db, vswitchd := ovs.Pids()
	ovs.KillVswitchd(t)
	ovs.StartVswitchd(t)
	if _, err := net.InterfaceByName("br0"); err != nil {
		t.Errorf("br0 after the restart: %v", err)
	}
	if flows := ovs.Ofctl(t, "dump-flows", "br0"); strings.Contains(flows, "priority=5") {
		t.Errorf("the flow has survived the death of ovs-vswitchd:\n%s", flows)
	}
	ovs.KillOVSDB(t)
	if conn, err := net.Dial("unix", path); err == nil {
		t.Error("the killed ovsdb-server accepts connections")
		conn.Close()
	}
	ovs.StartOVSDB(t)
	// Without waiting for ovs-vswitchd, which takes its time to reconnect.
	if got := strings.TrimSpace(ovs.Vsctl(t, "--no-wait", "list-br")); got != "br0" {
		t.Errorf("bridges after ovsdb-server's restart: %q", got)
	}
	if d, v := ovs.Pids(); d == db || v == vswitchd {
		t.Errorf("process IDs are still %d and %d", d, v)
	}
}

func TestOVSInNamespace(t *testing.T) {
	ns := testutil.NewNS(t)
	first := testutil.StartOVS(t, testutil.OVSOptions{In: ns})
	second := testutil.StartOVS(t, testutil.OVSOptions{})
	for _, ovs := range []*testutil.OVS{first, second} {
		ovs.Vsctl(t, "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	}
	if _, err := ns.Netlink().LinkByName("br0"); err != nil {
		t.Errorf("br0 in the namespace: %v", err)
	}
	if _, err := net.InterfaceByName("br0"); err != nil {
		t.Errorf("br0 here: %v", err)
	}
	second.PauseVswitchd(t)
	start := time.Now()
	first.Appctl(t, "version")
	if d := time.Since(start); d > 5*time.Second {
		t.Error(errors.New("one paused OVS delays the other"), d)
	}
	second.ResumeVswitchd(t)
	second.Appctl(t, "version")
}
