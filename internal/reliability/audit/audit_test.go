package audit_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

const (
	settle = 20 * time.Second
	ovsdb  = "unix:/run/openvswitch/db.sock"
)

// look audits a host.
func look(t *testing.T, h *testutil.Host, r audit.Request) []audit.Finding {
	t.Helper()
	r.Node = h.Name
	var found []audit.Finding
	rig.Must(t, h.Call(t.Context(), "audit", r, &found))
	return found
}

// clean waits until nothing is found.
func clean(t *testing.T, h *testutil.Host, r audit.Request) {
	t.Helper()
	testutil.Eventually(t, settle, func() error {
		if found := look(t, h, r); len(found) > 0 {
			var lines []string
			for _, f := range found {
				lines = append(lines, f.String())
			}
			return fmt.Errorf("%s:\n%s", h.Name, strings.Join(lines, "\n"))
		}
		return nil
	})
}

func call(t *testing.T, h *testutil.Host, method string, params, result any) {
	t.Helper()
	rig.Must(t, h.Call(t.Context(), method, params, result))
}

// join puts a new endpoint into a sandbox, which it makes unless it is there.
func join(t *testing.T, h *testutil.Host, network, name, container string) {
	t.Helper()
	ep := nodeagent.Endpoint{Network: network, Name: name}
	call(t, h, "endpoint.create", ep, nil)
	var list []nodeagent.Sandbox
	call(t, h, "sandbox.list", nil, &list)
	known := false
	for _, sb := range list {
		known = known || sb.Container == container
	}
	if !known {
		call(t, h, "sandbox.create", container, nil)
	}
	call(t, h, "join", nodeagent.Join{Endpoint: ep, Container: container}, nil)
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// TestUndamagedHosts looks at everything the drivers can make, at each stage of its life.
func TestUndamagedHosts(t *testing.T) {
	r := testutil.NewHosts(t, 2, testutil.HostsOptions{EtcdMembers: 1})
	q := audit.Request{Etcd: r.Etcd.Endpoints(), OVSDB: ovsdb}
	for _, h := range r.Hosts {
		h.Start(t)
		clean(t, h, q) // never used
		call(t, h, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: r.Etcd.Endpoints()}, nil)
		clean(t, h, q)
	}
	one, two := r.Hosts[0], r.Hosts[1]
	for _, n := range []nodeagent.Network{
		{Driver: "bridge", Name: "web", Subnets: prefixes("10.1.0.0/24", "fd01::/64")},
		{Driver: "bridge", Name: "db", Subnets: prefixes("10.2.0.0/24", "10.3.0.0/24"), Internal: true, MTU: 1400},
		{Driver: "null", Name: "none"}, {Driver: "host", Name: "host"},
		{Driver: "ovs-vxlan", Name: "blue"},
		{Driver: "ovs-vxlan", Name: "green", Subnets: prefixes("10.1.0.0/24", "fd01::/64"), MTU: 1300},
		{Driver: "ovs-vxlan", Name: "red", Subnets: prefixes("fd07::/64"), Internal: true},
	} {
		call(t, one, "network.create", n, nil)
	}
	clean(t, one, q)
	for _, n := range []string{"web", "db", "none", "blue", "green", "red"} {
		join(t, one, n, n+"1", "box1")
		join(t, one, n, n+"2", "box"+n)
	}
	for _, n := range []string{"blue", "green"} {
		join(t, two, n, n+"3", "box3")
	}
	for _, h := range r.Hosts {
		clean(t, h, q)
	}
	call(t, one, "leave", nodeagent.Join{Endpoint: nodeagent.Endpoint{Network: "blue", Name: "blue1"}, Container: "box1"}, nil)
	call(t, one, "sandbox.delete", "boxweb", nil)
	call(t, two, "endpoint.delete", nodeagent.Endpoint{Network: "green", Name: "green1", Force: true}, nil)
	for _, h := range r.Hosts {
		clean(t, h, q)
		h.Kill9(t)
		h.Start(t)
	}
	q.Closed = true
	for _, h := range r.Hosts {
		clean(t, h, q)
	}
	q.Closed = false
	for _, h := range r.Hosts {
		call(t, h, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: r.Etcd.Endpoints()}, nil)
	}
	for _, sb := range []string{"box1", "boxdb", "boxnone", "boxblue", "boxgreen", "boxred"} {
		call(t, one, "sandbox.delete", sb, nil)
	}
	for _, h := range r.Hosts {
		clean(t, h, q)
	}
}

// TestBridgeOnly looks at a host without Open vSwitch and without a cluster.
func TestBridgeOnly(t *testing.T) {
	h := testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true}).Hosts[0]
	h.Start(t)
	call(t, h, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP}, nil)
	call(t, h, "network.create", nodeagent.Network{Driver: "bridge", Name: "web"}, nil)
	join(t, h, "web", "a", "box1")
	clean(t, h, audit.Request{})
	call(t, h, "close", nil, nil)
	clean(t, h, audit.Request{Closed: true})
}
