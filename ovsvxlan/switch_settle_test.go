package ovsvxlan_test

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// The flows of the datapath may be wrong until a whole revalidation has run that began after the call, whichever was under way.
func TestSettleWaitsForRevalidation(t *testing.T) {
	if testutil.KernelDatapath() {
		t.Skip("there is nothing to wait for on the kernel's datapath")
	}
	r, s, _ := pair(t)
	held := true
	r.control(t, "revalidator/pause")
	defer func() {
		if held {
			r.control(t, "revalidator/resume")
		}
	}()
	done := make(chan error, 1)
	go func() { done <- s.Settle(t.Context()) }()
	still := func(ended string) {
		t.Helper()
		for range 100 { // each is a round of the main loop, many more than Settle asks for
			r.control(t, "version")
		}
		select {
		case err := <-done:
			t.Fatalf("returned (%v) when %s had ended", err, ended)
		default:
		}
	}
	still("no revalidation")
	r.control(t, "revalidator/resume", "revalidator/pause") // in the next one
	still("the revalidation that was under way")
	held = false
	r.control(t, "revalidator/resume")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// control gives ovs-vswitchd commands that it carries out in one round of its main loop.
func (r *host) control(t *testing.T, commands ...string) {
	t.Helper()
	conn, err := net.Dial("unix", r.ovs.RunDir()+"/ovs-vswitchd.ctl")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var requests []byte
	for _, c := range commands {
		requests = fmt.Appendf(requests, `{"id":0,"method":%q,"params":[]}`, c)
	}
	if _, err := conn.Write(requests); err != nil {
		t.Fatal(err)
	}
	replies := json.NewDecoder(conn)
	for _, c := range commands {
		var reply struct{ Error any }
		if err := replies.Decode(&reply); err != nil || reply.Error != nil {
			t.Fatalf("%s: %v, %v", c, reply.Error, err)
		}
	}
}

// A revalidation is not waited for, it is asked for: by what changes nothing.
func TestSettleNeedsNoTimer(t *testing.T) {
	if testutil.KernelDatapath() {
		t.Skip("nobody asks for one on the kernel's datapath")
	}
	r, s, a := pair(t)
	// Far above what Settle waits for ovs-vswitchd.
	r.ovs.Vsctl(t, "set", "Open_vSwitch", ".", "other_config:max-revalidator=600000", "other_config:max-idle=600000")
	// A frame that no port of ours sends is counted by the flow that is touched.
	mgmt := r.ovs.RunDir() + "/cnm-int.mgmt"
	r.ovs.Ofctl(t, "packet-out", mgmt, "in_port=LOCAL,packet=ffffffffffff0242000000099000,actions=table")
	for range 3 {
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for flow := range strings.Lines(r.ovs.Ofctl(t, "dump-flows", mgmt, "table=0")) {
		if strings.Contains(flow, "priority=0 ") && strings.Contains(flow, " n_packets=0,") {
			t.Errorf("the flow has forgotten what it counted: %s", flow)
		}
	}
	same(t, s, state(1, 2, 3))
	reach(t, a, addr4(3), addr6(3))
}
