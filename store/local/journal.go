package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/libcnm/libcnm/internal/step"
	"github.com/libcnm/libcnm/store"
)

// The journal is a second copy of all records, in a file of its own beside the first, from which Rebuild makes the first
// anew. It is written after it, without an fsync: whatever it lacks then, the next Open adds, so that it is never ahead.
// One that is shows that the first file has lost what was committed.
//
// It is text. A line has a checksum of its rest, the revision reached with it, how many records it is about, and these:
//
//	5f3a9c01 0000000000000007 2 {"schema":1}
//	0c41d2be 0000000000000007 2 [{"key":"sandboxes/1","value":"e30=","rev":3},{"key":"node","value":"e30=","rev":7}]
//	91b7aa60 0000000000000008 1 [{"key":"sandboxes/1","deleted":true,"rev":8}]
//
// The first says how many records there were when the journal was begun. They follow, then one line for each transaction.
const (
	journalSchema = 1
	journalBatch  = 256     // records in a line
	journalSlack  = 1 << 20 // bytes of transactions that are not worth beginning anew for
	journalGrowth = 4       // how many times what it began with
)

func journalPath(path string) string { return path + ".journal" }

// journal is for the goroutine that writes, and for Open before there is one.
type journal struct {
	path   string
	file   *os.File
	rev    store.Rev // reached
	size   int64     // of whole lines
	limit  int64     // above which it is begun anew
	behind bool      // it lacks a transaction
}

// journalHead is the first line.
type journalHead struct {
	Schema int `json:"schema"`
}

// journalRecord is a record as it was put, or that it was deleted.
type journalRecord struct {
	Key     string    `json:"key"`
	Value   []byte    `json:"value,omitempty"`
	Rev     store.Rev `json:"rev"`
	Deleted bool      `json:"deleted,omitempty"`
	Leased  bool      `json:"leased,omitempty"` // it ends with the process
}

// appendLine adds a line about n records.
func appendLine(buf []byte, rev store.Rev, n int, about any) ([]byte, error) {
	text, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	rest := fmt.Appendf(nil, "%016x %d %s", rev, n, text)
	buf = fmt.Appendf(buf, "%08x ", crc32.Checksum(rest, castagnoli))
	buf = append(buf, rest...)
	return append(buf, '\n'), nil
}

// parseLine reads a line, without its end. It reports false for one that is not as it was written.
func parseLine(line []byte) (rev store.Rev, n int, text []byte, ok bool) {
	parts := bytes.SplitN(line, []byte(" "), 4)
	if len(parts) != 4 {
		return 0, 0, nil, false
	}
	sum, err1 := strconv.ParseUint(string(parts[0]), 16, 32)
	number, err2 := strconv.ParseInt(string(parts[1]), 16, 64)
	n, err3 := strconv.Atoi(string(parts[2]))
	ok = errors.Join(err1, err2, err3) == nil && crc32.Checksum(line[len(parts[0])+1:], castagnoli) == uint32(sum)
	return store.Rev(number), n, parts[3], ok
}

// add appends the changes of one transaction.
func (j *journal) add(changes []change) error {
	var list []journalRecord
	for _, c := range changes {
		for i, e := range c.events {
			list = append(list, journalRecord{Key: e.Key, Value: e.Value, Rev: c.rev, Deleted: e.Deleted, Leased: c.leased[i]})
		}
	}
	rev := changes[len(changes)-1].rev
	line, err := appendLine(nil, rev, len(list), list)
	if err != nil {
		return err
	}
	err = step.Do("append to journal", func() error {
		_, err := j.file.WriteAt(line, j.size)
		return err
	})
	if err != nil {
		return err
	}
	j.rev, j.size = rev, j.size+int64(len(line))
	return nil
}

// begin replaces the journal by one that has what t has.
func (j *journal) begin(t *txn) (err error) {
	tmp := journalTemp(j.path)
	var f *os.File
	err = step.Do("create temporary journal", func() (err error) {
		f, err = os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	var size int64
	err = step.Do("write temporary journal", func() (err error) {
		size, err = writeSnapshot(f, t)
		return errors.Join(err, f.Sync())
	})
	if err == nil {
		err = step.Do("publish journal", func() error { return os.Rename(tmp, j.path) })
	}
	if err != nil {
		return errors.Join(err, f.Close(), removeJournalTemp(j.path))
	}
	old := j.file
	j.file, j.rev, j.size, j.limit, j.behind = f, t.state.rev, size, journalGrowth*size+journalSlack, false
	if old != nil {
		return old.Close()
	}
	return nil
}

func writeSnapshot(w io.Writer, t *txn) (size int64, err error) {
	buf, err := appendLine(nil, t.state.rev, int(t.state.records), journalHead{Schema: journalSchema})
	if err != nil {
		return 0, err
	}
	flush := func() error {
		n, err := w.Write(buf)
		size, buf = size+int64(n), buf[:0]
		return err
	}
	var batch []journalRecord
	line := func() error {
		if len(batch) == 0 {
			return nil
		}
		if buf, err = appendLine(buf, t.state.rev, len(batch), batch); err != nil {
			return err
		}
		batch = batch[:0]
		return flush()
	}
	err = t.records.ForEach(func(k, raw []byte) error {
		rec, err := decodeRecord(k, raw)
		if err != nil {
			return err
		}
		batch = append(batch, journalRecord{Key: rec.Key, Value: rec.Value, Rev: rec.Rev, Leased: t.leased.Get(k) != nil})
		if len(batch) == journalBatch {
			return line()
		}
		return nil
	})
	if err == nil {
		err = line()
	}
	if err == nil {
		err = flush()
	}
	return size, err
}

// close syncs the journal, so that it is whole after an orderly end.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	return errors.Join(step.Do("sync journal", j.file.Sync), j.file.Close())
}

func journalTemp(path string) string {
	dir, base := filepath.Split(path)
	return filepath.Join(dir, "."+base+".new")
}

// removeJournalTemp removes what a crash or a full disk left of a journal that was begun anew.
func removeJournalTemp(path string) error {
	if _, err := os.Lstat(journalTemp(path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return step.Do("remove temporary journal", func() error { return os.Remove(journalTemp(path)) })
}

// openJournal makes the journal that of the file, which has been verified and is in state st.
func (s *Store) openJournal(st state) error {
	j := &journal{path: journalPath(s.path)}
	s.journal = j
	if err := removeJournalTemp(j.path); err != nil {
		return unavailable(err)
	}
	have, err := scanJournal(j.path, nil)
	switch {
	case err != nil && !errors.Is(err, errJournal) && !errors.Is(err, fs.ErrNotExist):
		return unavailable(err)
	case err == nil && have.rev > st.rev:
		return fmt.Errorf("it is at revision %d, its journal %s at %d: commits are lost: %w: %w",
			st.rev, j.path, have.rev, ErrDamaged, store.ErrUnavailable)
	case err != nil || have.rev < st.rev:
		return s.beginJournal()
	}
	j.rev, j.size, j.limit = have.rev, have.size, journalGrowth*have.snapshot+journalSlack
	j.file, err = os.OpenFile(j.path, os.O_RDWR, 0)
	if err == nil && have.torn {
		err = step.Do("cut journal", func() error { return j.file.Truncate(have.size) })
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// beginJournal begins the journal anew with what the file has.
func (s *Store) beginJournal() error {
	err := s.guard(func() error {
		return s.db.View(func(tx *bbolt.Tx) error {
			t, err := newTxn(tx)
			if err != nil {
				return err
			}
			return s.journal.begin(t)
		})
	})
	if err != nil {
		return unavailable(fmt.Errorf("begin journal: %w", err))
	}
	return nil
}

// keep takes a transaction over that has been written. It is durable, so that a journal that cannot follow does not make
// it fail; but no other is written before the journal has caught up.
func (s *Store) keep(changes []change) {
	j := s.journal
	if j.behind {
		j.behind = s.beginJournal() != nil
		return
	}
	j.behind = j.add(changes) != nil
}

// catchUp makes the journal whole, and short.
func (s *Store) catchUp() error {
	if !s.journal.behind && s.journal.size <= s.journal.limit {
		return nil
	}
	return s.beginJournal()
}
