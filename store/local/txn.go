package local

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// The file's buckets, and the keys of the meta bucket.
var (
	metaBucket    = []byte("meta")
	recordsBucket = []byte("records")
	leasedBucket  = []byte("leased") // key of a leased record -> its lease

	schemaKey = []byte("schema")
	stateKey  = []byte("state")
)

// schema is the version of the file's layout. A file with a higher one is left alone.
const schema = 1

// txn is a bbolt transaction over the store's buckets.
type txn struct {
	meta, records, leased *bbolt.Bucket

	state   state
	changes []change // of the commits that took effect
}

func newTxn(tx *bbolt.Tx) (*txn, error) {
	t := &txn{meta: tx.Bucket(metaBucket), records: tx.Bucket(recordsBucket), leased: tx.Bucket(leasedBucket)}
	if t.meta == nil || t.records == nil || t.leased == nil {
		return nil, fmt.Errorf("a bucket is missing: %w", ErrDamaged)
	}
	var err error
	t.state, err = decodeState(stateKey, t.meta.Get(stateKey))
	return t, err
}

func (t *txn) get(key string) (store.Record, error) {
	raw := t.records.Get([]byte(key))
	if raw == nil {
		return store.Record{}, errdefs.ErrNotFound
	}
	return decodeRecord([]byte(key), raw)
}

// commit applies ops if guards hold. After an error t is untouched, unless it is an abandon.
func (t *txn) commit(s *Store, guards []store.Guard, ops []store.Op) error {
	for _, g := range guards {
		found, err := t.revision(g)
		if err != nil {
			return err
		}
		if err := g.Check(found); err != nil {
			return err
		}
	}
	for _, op := range ops {
		if op.Lease != nil {
			if err := s.checkLease(op.Lease); err != nil {
				return fmt.Errorf("put %s: %w", op.Key, err)
			}
		}
	}
	return t.apply(ops)
}

// revision returns the revision of the record g is about, or of the first one under its prefix; 0: there is none.
func (t *txn) revision(g store.Guard) (store.Rev, error) {
	key, raw := []byte(g.Key), []byte(nil)
	if g.Prefix {
		key, raw = t.records.Cursor().Seek(key)
		if !bytes.HasPrefix(key, []byte(g.Key)) {
			return 0, nil
		}
	} else {
		raw = t.records.Get(key)
	}
	if raw == nil {
		return 0, nil
	}
	rec, err := decodeRecord(key, raw)
	return rec.Rev, err
}

// apply makes the changes of one commit under the next revision.
func (t *txn) apply(ops []store.Op) error {
	c := change{rev: t.state.rev + 1}
	for _, op := range ops {
		var err error
		switch {
		case !op.Delete:
			err = t.put(&c, op)
		case op.Prefix:
			err = t.deletePrefix(&c, op.Key)
		default:
			err = t.delete(&c, []byte(op.Key))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", op.Key, abandon{err})
		}
	}
	if len(c.events) == 0 {
		return nil
	}
	t.state.rev = c.rev
	t.changes = append(t.changes, c)
	return nil
}

func (t *txn) put(c *change, op store.Op) error {
	key := []byte(op.Key)
	if t.records.Get(key) == nil {
		t.state.records++
	}
	if err := t.setLease(key, op.Lease); err != nil {
		return err
	}
	c.add(store.Event{Record: store.Record{Key: op.Key, Value: op.Value, Rev: c.rev}}, op.Lease != nil)
	return t.records.Put(key, encodeRecord(key, c.rev, op.Value))
}

func (t *txn) delete(c *change, key []byte) error {
	if t.records.Get(key) == nil {
		return nil
	}
	if err := t.setLease(key, nil); err != nil {
		return err
	}
	t.state.records--
	c.add(store.Event{Record: store.Record{Key: string(key), Rev: c.rev}, Deleted: true}, false)
	return t.records.Delete(key)
}

func (t *txn) deletePrefix(c *change, prefix string) error {
	var keys [][]byte // a cursor may skip entries when the bucket changes under it
	cur := t.records.Cursor()
	for k, _ := cur.Seek([]byte(prefix)); bytes.HasPrefix(k, []byte(prefix)); k, _ = cur.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := t.delete(c, k); err != nil {
			return err
		}
	}
	return nil
}

// setLease notes which lease keeps the record at key; nil: none does.
func (t *txn) setLease(key []byte, l store.Lease) error {
	if t.leased.Get(key) != nil {
		t.state.leased--
		if err := t.leased.Delete(key); err != nil {
			return err
		}
	}
	if l == nil {
		return nil
	}
	t.state.leased++
	return t.leased.Put(key, encodeUint(key, l.(*lease).id))
}

// endLeases deletes the records of the lease with this id, or of all leases for 0, under the next revision.
func (t *txn) endLeases(id uint64) error {
	var ops []store.Op
	err := t.leased.ForEach(func(k, raw []byte) error {
		owner, err := decodeUint(k, raw)
		if err == nil && (id == 0 || owner == id) {
			ops = append(ops, store.Delete(string(k)))
		}
		return err
	})
	if err != nil {
		return abandon{err}
	}
	return t.apply(ops)
}

// save writes the state that the changes led to.
func (t *txn) save() error { return t.meta.Put(stateKey, t.state.encode(stateKey)) }

// abandon marks an error after which the transaction may hold a part of a commit.
type abandon struct{ error }

func (a abandon) Unwrap() error { return a.error }
