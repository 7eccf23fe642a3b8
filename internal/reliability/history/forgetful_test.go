package history_test

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
)

// forgetful is a store that forgets the guards of some commits: what a lock that is not one would do.
type forgetful struct {
	*etcd.Store
	share float64

	mu     sync.Mutex // guards random
	random *rand.Rand
}

func newForgetful(st *etcd.Store, share float64, seed uint64) *forgetful {
	return &forgetful{Store: st, share: share, random: rand.New(rand.NewPCG(seed, 0))}
}

func (f *forgetful) Commit(ctx context.Context, guards []store.Guard, ops ...store.Op) (store.Rev, error) {
	f.mu.Lock()
	forget := f.random.Float64() < f.share
	f.mu.Unlock()
	if forget {
		guards = nil
	}
	return f.Store.Commit(ctx, guards, ops...)
}
