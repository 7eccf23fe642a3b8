package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

const (
	lockTimeout = time.Second // a process that is ending needs a moment to let go of the file
	lockRetry   = 20 * time.Millisecond
)

// Open opens the store in the file at path, and creates it, mode 0600, and its directory, mode 0700, when they do not
// exist. Records of leases that the last process did not end are deleted.
//
// It returns ErrInUse when another process has the file open, ErrUnsupported when a newer version wrote it, ErrDamaged
// when it is not what was written, and ErrUnavailable for what the file system refuses. An existing file is only changed
// once it has been verified.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := open(ctx, path, historySize)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, history int) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := openFile(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := verifyFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Here too: a process that died after it had published the store left its other name.
	if err := removeStale(path); err != nil {
		return nil, errors.Join(unavailable(err), f.Close())
	}
	s := &Store{path: path, file: f, leases: map[*lease]struct{}{}}
	if err := s.guard(func() (err error) { s.db, err = openDB(f); return err }); err != nil {
		return nil, errors.Join(unavailable(err), closeFile(f))
	}
	st, err := s.verifyRecords()
	if err == nil {
		err = s.openJournal(st)
	}
	if err == nil {
		s.history = newHistory(st.rev, history)
		s.writer = startWriter(s, st.rev)
		if st.leased > 0 {
			_, err = s.writer.submit(ctx, func(t *txn) error { return t.endLeases(0) })
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.abort())
	}
	return s, nil
}

// abort undoes a failed open.
func (s *Store) abort() error {
	var err error
	switch {
	case s.writer != nil:
		err = s.writer.close()
	case s.journal != nil:
		err = s.journal.close()
	}
	return errors.Join(err, s.release())
}

// openFile returns the locked, existing file at path, which it creates if necessary.
func openFile(ctx context.Context, path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		switch {
		case err == nil:
			if err := lock(ctx, f); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return f, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, unavailable(err)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		if gone, err := lost(path); err != nil || gone {
			return nil, err
		}
		if err := create(path); err != nil {
			return nil, unavailable(err)
		}
	}
}

// lost reports, with an error, that the file at path is not there although it was. Its journal, made after it, is seen
// first, so that a store which another process is just creating is not taken for one.
func lost(path string) (bool, error) {
	if _, err := os.Lstat(journalPath(path)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, unavailable(err)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("it is gone, its journal %s is not: %w: %w", journalPath(path), ErrDamaged, errdefs.ErrUnavailable)
	} else if err != nil {
		return false, unavailable(err)
	}
	return false, nil
}

// lock takes the file's lock, which is also bbolt's.
func lock(ctx context.Context, f *os.File) error {
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	timeout := time.NewTimer(lockTimeout)
	defer timeout.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return unavailable(fmt.Errorf("lock: %w", err))
		}
		select {
		case <-retry.C:
		case <-timeout.C:
			return fmt.Errorf("locked by another process: %w", errdefs.ErrInUse)
		case <-ctx.Done():
			return fmt.Errorf("locked by another process: %w: %w", ctx.Err(), errdefs.ErrInUse)
		}
	}
}

// create makes an empty store at path. It is no error if another process was faster.
func create(path string) error {
	_, err := createWith(path, initialize)
	return err
}

// createWith makes a store at path, unless another process is faster, in one step: a crash leaves no file or a whole one,
// so that a file which is not whole is known to be damaged.
func createWith(path string, fill func(*bbolt.Tx) error) (made bool, err error) {
	dir, base := filepath.Split(path)
	dir = filepath.Clean(dir)
	if err := step.Do("make store directory", func() error { return os.MkdirAll(dir, 0o700) }); err != nil {
		return false, err
	}
	if err := removeStale(path); err != nil {
		return false, err
	}
	var f *os.File
	err = step.Do("create temporary store", func() (err error) {
		f, err = os.CreateTemp(dir, "."+base+".new-*")
		return err
	})
	if err != nil {
		return false, err
	}
	tmp := f.Name()
	defer func() { err = errors.Join(err, removeTemp(tmp)) }()
	var db *bbolt.DB
	err = step.Do("format temporary store", func() (err error) {
		db, err = openDB(f)
		return err
	})
	if err != nil {
		return false, errors.Join(err, closeFile(f))
	}
	err = step.Do("initialize temporary store", func() error { return db.Update(fill) })
	if err := errors.Join(err, db.Close()); err != nil {
		return false, err
	}
	err = step.Do("publish store", func() error { return os.Link(tmp, path) })
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, step.Do("sync store directory", func() error { return syncDir(dir) })
}

// removeStale removes what a crash left of a store that was being made. If it is another process's that is just making the
// same one, its link fails and it tries again.
func removeStale(path string) error {
	dir, base := filepath.Split(path)
	stale, err := filepath.Glob(filepath.Join(dir, "."+base+".new-*"))
	for _, name := range stale {
		err = errors.Join(err, removeTemp(name))
	}
	return err
}

func removeTemp(name string) error {
	err := step.Do("remove temporary store", func() error { return os.Remove(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func initialize(tx *bbolt.Tx) error {
	for _, name := range [][]byte{metaBucket, recordsBucket, leasedBucket} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(metaBucket)
	return errors.Join(
		meta.Put(schemaKey, encodeUint(schemaKey, schema)),
		meta.Put(stateKey, state{}.encode(stateKey)),
	)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openDB gives f to bbolt, which closes it with the database. If openDB fails f may be closed already.
func openDB(f *os.File) (*bbolt.DB, error) {
	return bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
		OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
}

func closeFile(f *os.File) error {
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func unavailable(err error) error {
	if errors.Is(err, errdefs.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
}
