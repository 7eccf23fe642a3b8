package etcd_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
	"github.com/libcnm/libcnm/store/storetest"
)

func TestMain(m *testing.M) { testutil.Main(m, testutil.NeedEtcd()) }

func TestConformance(t *testing.T) {
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	client := cluster.Client(t)
	prefixes := map[store.Store]string{}
	var n atomic.Int64
	storetest.Run(t,
		func(t *testing.T) store.Store {
			prefix := fmt.Sprintf("/test/%d/", n.Add(1))
			s := newStore(t, cluster, etcd.WithPrefix(prefix))
			prefixes[s] = prefix
			return s
		},
		storetest.WithReopen(func(t *testing.T, closed store.Store) store.Store {
			return newStore(t, cluster, etcd.WithPrefix(prefixes[closed]))
		}),
		storetest.WithCompact(func(t *testing.T, _ store.Store, rev store.Rev) {
			if _, err := client.Compact(t.Context(), int64(rev)); err != nil {
				t.Fatal(err)
			}
		}))
}

func newStore(t *testing.T, cluster *testutil.EtcdCluster, opts ...etcd.Option) *etcd.Store {
	t.Helper()
	s, err := etcd.New(t.Context(), cluster.Config(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
