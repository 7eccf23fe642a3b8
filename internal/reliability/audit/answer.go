package audit

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/store/etcd"
)

// Request is Host for another process, in the host's namespaces and with the library's default directories.
type Request struct {
	Node   string   `json:"node"`
	Etcd   []string `json:"etcd,omitempty"` // none: the local store has everything
	OVSDB  string   `json:"ovsdb,omitempty"`
	Closed bool     `json:"closed,omitempty"`
}

// Answer is Run as the method of an agent: handlers["audit"] = agent.Handle(audit.Answer).
func Answer(ctx context.Context, r Request) (_ []Finding, err error) {
	h := Host{Node: r.Node, DataDir: "/var/lib/libcnm", RunDir: "/run/libcnm", OVSDB: r.OVSDB, Closed: r.Closed}
	if len(r.Etcd) > 0 {
		cluster, err := etcd.New(ctx, clientv3.Config{Endpoints: r.Etcd})
		if err != nil {
			return nil, err
		}
		h.Cluster = cluster
		found, err := Run(ctx, h)
		return found, errors.Join(err, cluster.Close())
	}
	return Run(ctx, h)
}
