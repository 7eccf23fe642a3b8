package etcd

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

// Commit implements store.Store. The transaction is sent once: when its connection breaks the outcome is unknown.
func (s *Store) Commit(ctx context.Context, guards []store.Guard, ops ...store.Op) (store.Rev, error) {
	if err := store.CheckCommit(guards, ops); err != nil {
		return 0, err
	}
	compares, look := s.compares(guards)
	changes, err := s.changes(ops)
	if err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	var resp *clientv3.TxnResponse
	err = s.call(ctx, "commit "+summary(ops), func(ctx context.Context) (err error) {
		txn := s.client.Txn(ctx).If(compares...).Then(changes...).Else(look...)
		return step.Do("commit to etcd", func() error {
			resp, err = txn.Commit()
			return err
		})
	})
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return 0, fmt.Errorf("commit: %w", conflict(guards, resp))
	}
	return store.Rev(resp.Header.Revision), nil
}

// compares returns the guards for etcd, and reads that show which of them did not hold.
func (s *Store) compares(guards []store.Guard) (compares []clientv3.Cmp, look []clientv3.Op) {
	for _, g := range guards {
		key := s.prefix + g.Key
		switch {
		case g.Prefix:
			// Compares every key of a range, and holds if there is none: no key was created by revision 0.
			compares = append(compares, clientv3.Compare(clientv3.CreateRevision(key), "=", 0).WithPrefix())
			look = append(look, clientv3.OpGet(key, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1)))
			continue
		case g.Any:
			compares = append(compares, clientv3.Compare(clientv3.CreateRevision(key), ">", 0))
		default:
			compares = append(compares, clientv3.Compare(clientv3.ModRevision(key), "=", int64(g.Rev)))
		}
		look = append(look, clientv3.OpGet(key, clientv3.WithKeysOnly()))
	}
	return compares, look
}

func (s *Store) changes(ops []store.Op) ([]clientv3.Op, error) {
	changes := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		key := s.prefix + op.Key
		switch {
		case op.Delete && op.Prefix:
			changes[i] = clientv3.OpDelete(key, clientv3.WithPrefix())
		case op.Delete:
			changes[i] = clientv3.OpDelete(key)
		case op.Lease != nil:
			l, err := s.checkLease(op.Lease)
			if err != nil {
				return nil, fmt.Errorf("put %s: %w", op.Key, err)
			}
			changes[i] = clientv3.OpPut(key, string(op.Value), clientv3.WithLease(l.id))
		default:
			changes[i] = clientv3.OpPut(key, string(op.Value))
		}
	}
	return changes, nil
}

// conflict says which guard did not hold.
func conflict(guards []store.Guard, resp *clientv3.TxnResponse) error {
	for i, r := range resp.Responses {
		var found store.Rev
		if kvs := r.GetResponseRange().Kvs; len(kvs) > 0 {
			found = store.Rev(kvs[0].ModRevision)
		}
		if err := guards[i].Check(found); err != nil {
			return err
		}
	}
	return errdefs.ErrConflict
}

func (s *Store) record(kv *mvccpb.KeyValue) store.Record {
	return store.Record{Key: strings.TrimPrefix(string(kv.Key), s.prefix), Value: kv.Value, Rev: store.Rev(kv.ModRevision)}
}

// summary names a commit by its first key.
func summary(ops []store.Op) string {
	switch len(ops) {
	case 0:
		return "of guards"
	case 1:
		return ops[0].Key
	default:
		return fmt.Sprintf("%s and %d more", ops[0].Key, len(ops)-1)
	}
}
