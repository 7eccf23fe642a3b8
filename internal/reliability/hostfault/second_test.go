package hostfault

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
)

// Second says what controller to open beside the agent's own.
type Second struct {
	nodeagent.Open
	DataDir, RunDir string
}

// openSecond opens another controller, which must be refused.
func openSecond(ctx context.Context, s Second) (struct{}, error) {
	opts := []libcnm.Option{libcnm.WithNode(s.Node, s.Underlay), libcnm.WithDataDir(s.DataDir), libcnm.WithRunDir(s.RunDir)}
	if len(s.Etcd) > 0 {
		opts = append(opts, libcnm.WithEtcd(clientv3.Config{Endpoints: s.Etcd}))
	}
	c, err := libcnm.New(ctx, opts...)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, c.Close()
}
