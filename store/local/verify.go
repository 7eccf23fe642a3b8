package local

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// verifyFile checks the file's structure before bbolt maps it: bbolt trusts what it reads, and a wrong page number or
// count in a damaged file would make it read outside the mapping, run in circles or overwrite what is in use.
func verifyFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return unavailable(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %w", errdefs.ErrInvalid)
	}
	err = verifyImage(f, info.Size())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errCorrupt):
		return fmt.Errorf("%w: %w: %w", err, ErrDamaged, errdefs.ErrUnavailable)
	default:
		return unavailable(err)
	}
}

func verifyImage(r io.ReaderAt, size int64) error {
	img, err := readMeta(r, size)
	if err != nil {
		return err
	}
	if err := img.readFreelist(); err != nil {
		return err
	}
	return img.verifyTree(img.root, nil, nil, 0)
}

// verifyRecords checks what the pages hold, now that bbolt can be trusted to read them.
func (s *Store) verifyRecords() (state, error) {
	var st state
	err := s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			if err := checkSchema(tx); err != nil {
				return err
			}
			t, err := newTxn(tx)
			if err != nil {
				return err
			}
			st = t.state
			return t.verify()
		})
	})
	return st, err
}

func checkSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return fmt.Errorf("a bbolt file, but not a store: %w", errdefs.ErrInvalid)
	}
	found, err := decodeUint(schemaKey, meta.Get(schemaKey))
	if err != nil {
		return err
	}
	if found != schema {
		return fmt.Errorf("written in schema %d, this version knows %d: %w", found, schema, errdefs.ErrUnsupported)
	}
	return nil
}

// verify checks every record's checksum and the counts.
func (t *txn) verify() error {
	var found state
	err := t.records.ForEach(func(k, raw []byte) error {
		rec, err := decodeRecord(k, raw)
		if err == nil && rec.Rev > t.state.rev {
			err = fmt.Errorf("record %q has revision %d of %d: %w", k, rec.Rev, t.state.rev, ErrDamaged)
		}
		found.records++
		return err
	})
	if err != nil {
		return err
	}
	err = t.leased.ForEach(func(k, raw []byte) error {
		_, err := decodeUint(k, raw)
		found.leased++
		return err
	})
	if err != nil {
		return err
	}
	if found.records != t.state.records || found.leased != t.state.leased {
		return fmt.Errorf("%d records of %d and %d leases of %d are there: %w",
			found.records, t.state.records, found.leased, t.state.leased, ErrDamaged)
	}
	return nil
}
