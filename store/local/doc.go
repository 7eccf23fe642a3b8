// Package local is the store of one node: a bbolt file that one process has open.
//
// Commits that arrive together share one transaction and one fsync, watches are served from memory, and the file is
// verified from end to end when it is opened, so that a damaged one is refused and never overwritten. It does not
// replicate, and it does not compact its file: space freed by deletes is used again but not given back.
//
//	s, err := local.Open(ctx, "/var/lib/libcnm/local.db")
//	if err != nil {
//		return err // errors.Is(err, local.ErrDamaged): set the file aside before opening a new one
//	}
//	defer s.Close()
//	_, err = s.Commit(ctx, []store.Guard{store.Absent("sandboxes/1")}, store.Put("sandboxes/1", value))
//
// When the newest of the file's two meta pages is unreadable, the file opens in the state before the last transaction:
// that is what a crash in the middle of writing it looks like.
package local
