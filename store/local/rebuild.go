package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

// Rebuilt is what came of Rebuild.
type Rebuilt struct {
	Aside   []string  // where the damaged files are now
	Whole   bool      // the journal was there and has been taken over; else the new store is empty
	Torn    bool      // the journal's last transaction was cut short: one commit may be missing
	Records int       // in the new store
	Rev     store.Rev // of the new store
}

// Rebuild makes the store at path anew from its journal, for a file that Open refuses with ErrDamaged or ErrInvalid. It
// deletes nothing: the file keeps its bytes under another name beside the new one, and so does a journal that is damaged
// itself; the new store is empty then. It is for a caller that has seen Open fail, and is ErrInUse while another process
// has the file open.
func Rebuild(ctx context.Context, path string) (Rebuilt, error) {
	r, err := rebuild(ctx, path)
	if err != nil {
		return Rebuilt{}, fmt.Errorf("rebuild store %s: %w", path, err)
	}
	return r, nil
}

func rebuild(ctx context.Context, path string) (r Rebuilt, err error) {
	if err := ctx.Err(); err != nil {
		return r, err
	}
	unlock, err := lockDamaged(ctx, path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	records, scan, err := readJournal(journalPath(path))
	damaged := errors.Is(err, errJournal)
	if err != nil && !damaged && !errors.Is(err, fs.ErrNotExist) {
		return r, unavailable(err)
	}
	r.Whole, r.Torn, r.Records, r.Rev = err == nil, scan.torn, len(records), scan.rev
	if !r.Whole {
		r.Torn, r.Records, r.Rev = false, 0, 0
		records = nil
	}
	suffix := time.Now().UTC().Format(".damaged-20060102T150405.000000000Z")
	aside := []string{path}
	if damaged {
		// First: without its journal an absent file is a new store, and so the damaged one is refused until the end.
		aside = []string{journalPath(path), path}
	}
	for _, name := range aside {
		err := step.Do("set damaged store aside", func() error { return os.Rename(name, name+suffix) })
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return r, unavailable(err)
		}
		r.Aside = append(r.Aside, name+suffix)
	}
	made, err := createWith(path, func(tx *bbolt.Tx) error { return refill(tx, records, r.Rev) })
	if err != nil {
		return r, unavailable(err)
	}
	if !made {
		return r, fmt.Errorf("another process was faster: %w", errdefs.ErrInUse)
	}
	return r, nil
}

// lockDamaged takes the lock of the file, if it is there and can be opened: a directory in its place cannot.
func lockDamaged(ctx context.Context, path string) (unlock func() error, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file, move it away: %w", errdefs.ErrInvalid)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, unavailable(err)
	}
	if err := lock(ctx, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// readJournal returns the records that a journal leads to.
func readJournal(path string) (map[string]journalRecord, journalScan, error) {
	records := make(map[string]journalRecord)
	scan, err := scanJournal(path, func(list []journalRecord) error {
		for _, rec := range list {
			// A record of a lease ended with the process that had the lease.
			if rec.Deleted || rec.Leased {
				delete(records, rec.Key)
			} else {
				records[rec.Key] = rec
			}
		}
		return nil
	})
	return records, scan, err
}

// refill fills a new file with records.
func refill(tx *bbolt.Tx, records map[string]journalRecord, rev store.Rev) error {
	if err := initialize(tx); err != nil {
		return err
	}
	t, err := newTxn(tx)
	if err != nil {
		return err
	}
	for _, rec := range records {
		key := []byte(rec.Key)
		if err := t.records.Put(key, encodeRecord(key, rec.Rev, rec.Value)); err != nil {
			return err
		}
	}
	t.state = state{rev: rev, records: uint64(len(records))}
	return t.save()
}
