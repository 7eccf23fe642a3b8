// Package local is the store of one node: a bbolt file that one process has open.
//
// Commits that arrive together share one transaction and one fsync, watches are served from memory, and the file is
// verified from end to end when it is opened, so that a damaged one is refused and never overwritten. It does not
// replicate, and it does not compact its file: space freed by deletes is used again but not given back.
//
//	s, err := local.Open(ctx, "/var/lib/libcnm/local.db")
//	if err != nil {
//		return err // errors.Is(err, local.ErrDamaged): see Rebuild
//	}
//	defer s.Close()
//	_, err = s.Commit(ctx, []store.Guard{store.Absent("sandboxes/1")}, store.Put("sandboxes/1", value))
//
// Beside the file is its journal, a second copy of the records as text. Rebuild makes a damaged file anew from it:
//
//	if errors.Is(err, local.ErrDamaged) {
//		rebuilt, err := local.Rebuild(ctx, path) // the damaged file is kept under another name
//	}
package local
