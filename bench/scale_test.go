package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/libcnm/libcnm/drivers"
)

func TestLayoutSpreadsNodesEvenly(t *testing.T) {
	for _, nodes := range []int{2, 10, 30, 100, 300, maxNodes} {
		l := newLayout(nodes)
		for i, networks := range l.networks {
			if len(slices.Compact(slices.Sorted(slices.Values(networks)))) != scalePerNode {
				t.Errorf("node %d of %d is in networks %v, want %d different ones", i, nodes, networks, scalePerNode)
			}
		}
		least, most := nodes, 0
		for _, members := range l.nodes {
			least, most = min(least, len(members)), max(most, len(members))
		}
		if nodes >= 100 && (least != 30 || most != 30) {
			t.Errorf("networks of %d nodes span %d to %d of them, want 30", nodes, least, most)
		}
		for network, members := range l.nodes {
			for _, node := range members {
				if !l.in(node, network) {
					t.Errorf("network %d has node %d, which is not in it", network, node)
				}
			}
		}
	}
}

func TestSubnetsOfNetworksDiffer(t *testing.T) {
	seen := make(map[string]int)
	for network := range maxNodes / scaleSpread {
		for _, subnet := range scaleSubnets(network) {
			if other, ok := seen[subnet.String()]; ok {
				t.Errorf("networks %d and %d have %s", other, network, subnet)
			}
			if subnet != subnet.Masked() {
				t.Errorf("network %d: %s has host bits", network, subnet)
			}
			seen[subnet.String()] = network
		}
	}
}

func TestWaveEndsWithTheLastNode(t *testing.T) {
	w := newWaves()
	news := func(ids ...drivers.EndpointID) (list []drivers.Peer) {
		for _, id := range ids {
			list = append(list, drivers.Peer{Endpoint: id})
		}
		return list
	}
	a := w.begin("a", 0, []int{0, 1, 2})
	b := w.begin("b", 1, []int{0, 1, 2})
	w.told(1, news("a", "unknown"))
	w.told(2, news("b"))
	w.told(1, news("a")) // again
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, at := range map[string]*wave{"a": a, "b": b} {
		if _, err := w.wait(ended, at); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "1 nodes") {
			t.Errorf("%s has reached one node of two: %v", name, err)
		}
	}
	w.told(2, news("a", "b"))
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := w.wait(soon, a); err != nil {
		t.Errorf("a has reached everybody: %v", err)
	}
	if _, err := w.wait(ended, b); err == nil {
		t.Error("b has not reached its last node, and is done")
	}
	if _, err := w.wait(soon, w.begin("c", 0, []int{0})); err != nil {
		t.Errorf("c concerns nobody: %v", err)
	}
}

const etcdText = `# HELP etcd_mvcc_db_total_size_in_bytes Total size of the underlying database.
# TYPE etcd_mvcc_db_total_size_in_bytes gauge
etcd_mvcc_db_total_size_in_bytes 2.097152e+06
etcd_debugging_mvcc_events_total 500
etcd_debugging_mvcc_watch_stream_total 3
etcd_debugging_mvcc_watcher_total 21
grpc_server_msg_received_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} 40
grpc_server_msg_received_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 2
grpc_server_msg_sent_total{grpc_method="Range",grpc_service="etcdserverpb.KV",grpc_type="unary"} 7
process_cpu_seconds_total 1.5
process_resident_memory_bytes 5.0e+07
`

func TestParseEtcd(t *testing.T) {
	got, err := parseEtcd(strings.NewReader(etcdText))
	if err != nil {
		t.Fatal(err)
	}
	at := got.At
	got.At = time.Time{}
	want := etcdCount{Requests: 42, Sent: 7, Events: 500, CPU: 1.5, Watchers: 21, Streams: 3, DB: 2 << 20, Memory: 5e7}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	later := want
	got.At, later.At = at, at.Add(2*time.Second)
	later.Requests, later.CPU = 142, 2.5
	if load := later.since(got); load.Requests != 50 || load.CPU != 0.5 || load.Watchers != 21 || load.Sent != 0 {
		t.Errorf("load %+v", load)
	}
	for _, bad := range []string{
		strings.Replace(etcdText, "process_cpu_seconds_total 1.5\n", "", 1),
		strings.Replace(etcdText, " 1.5", " much", 1),
	} {
		if _, err := parseEtcd(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "process_cpu_seconds_total") {
			t.Errorf("a figure that is missing or no number: %v", err)
		}
	}
}

func TestTrafficTellsOwnFromForeign(t *testing.T) {
	tr := &traffic{member: func(network string) bool { return network == "mine" }}
	for _, key := range []string{
		"/libcnm/endpoints/mine/1", "/libcnm/claims/mine/10.0.0.2", "/libcnm/endpoints/theirs/1", "/libcnm/nodes/a", "/libcnm/subnets",
	} {
		tr.event(key)
	}
	if own, foreign, nodes := tr.own.Load(), tr.foreign.Load(), tr.nodes.Load(); own != 2 || foreign != 1 || nodes != 1 {
		t.Errorf("own %d, foreign %d, nodes %d, want 2, 1, 1", own, foreign, nodes)
	}
}

func TestTrafficCountsLists(t *testing.T) {
	tr := new(traffic)
	call := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }
	for _, req := range []any{&pb.RangeRequest{Key: []byte("a")}, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}, &pb.TxnRequest{}} {
		if err := tr.unary(t.Context(), "", req, nil, nil, call); err != nil {
			t.Fatal(err)
		}
	}
	if got := tr.lists.Load(); got != 1 {
		t.Errorf("counted %d lists, want 1", got)
	}
}

func TestNumbers(t *testing.T) {
	var c config
	if err := c.parse([]string{"-nodes", "10,1000"}); err != nil || !slices.Equal(c.nodes, []int{10, 1000}) {
		t.Errorf("got %v, %v", c.nodes, err)
	}
	for _, bad := range []string{"", "1", "1001", "ten", "10,"} {
		if err := new(config).parse([]string{"-nodes", bad}); err == nil {
			t.Errorf("-nodes %q is accepted", bad)
		}
	}
}

func TestJudgeScale(t *testing.T) {
	good := scale{Nodes: 100, Rest: spread{P99: time.Second}, Churn: spread{P99: time.Millisecond}}
	for name, tt := range map[string]struct {
		change func(*scale)
		fails  int
	}{
		"good":             {func(*scale) {}, 0},
		"slow at rest":     {func(s *scale) { s.Rest.P99++; s.Rest.P99 *= 2 }, 1},
		"slow under load":  {func(s *scale) { s.Churn.P99 = time.Minute }, 1},
		"works for others": {func(s *scale) { s.Foreign = 1 }, 1},
	} {
		s := good
		tt.change(&s)
		r := results{Scale: []scale{s}}
		r.judge()
		fails := 0
		for _, target := range r.Targets {
			if !target.Pass {
				fails++
			}
		}
		if fails != tt.fails || len(r.Targets) != 3 {
			t.Errorf("%s: %d of %d targets missed, want %d of 3: %+v", name, fails, len(r.Targets), tt.fails, r.Targets)
		}
	}
}
