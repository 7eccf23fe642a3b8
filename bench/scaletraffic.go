package main

import (
	"context"
	"strings"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// traffic counts, at one node's client, what it asks etcd for and is told by it.
type traffic struct {
	member func(network string) bool // by its ID; what is of other networks is foreign

	lists   atomic.Int64 // of all keys with one prefix
	own     atomic.Int64 // events of endpoints and addresses in networks that the node is in
	foreign atomic.Int64 // events of those in others
	nodes   atomic.Int64 // events of the directory of nodes
}

// The prefixes of keys, below that of the store.
const (
	scaleEndpointKeys = "/libcnm/endpoints/" // and the network's ID
	scaleClaimKeys    = "/libcnm/claims/"    // likewise; whoever makes endpoints follows which addresses are free
	scaleNodeKeys     = "/libcnm/nodes/"
)

// options make a client count.
func (t *traffic) options() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(t.unary), grpc.WithChainStreamInterceptor(t.stream)}
}

func (t *traffic) unary(
	ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if r, ok := req.(*pb.RangeRequest); ok && len(r.RangeEnd) > 0 {
		t.lists.Add(1)
	}
	return call(ctx, method, req, reply, conn, opts...)
}

func (t *traffic) stream(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return countingStream{s, t}, nil
}

// countingStream counts the events that it delivers.
type countingStream struct {
	grpc.ClientStream
	to *traffic
}

func (s countingStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if r, ok := m.(*pb.WatchResponse); ok && err == nil {
		for _, e := range r.Events {
			s.to.event(string(e.Kv.Key))
		}
	}
	return err
}

func (t *traffic) event(key string) {
	rest, ok := strings.CutPrefix(key, scaleEndpointKeys)
	if !ok {
		rest, ok = strings.CutPrefix(key, scaleClaimKeys)
	}
	if ok {
		network, _, _ := strings.Cut(rest, "/")
		if t.member(network) {
			t.own.Add(1)
		} else {
			t.foreign.Add(1)
		}
		return
	}
	if strings.HasPrefix(key, scaleNodeKeys) {
		t.nodes.Add(1)
	}
}
