package libcnm

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/libcnm/libcnm/store"
)

// unreadable remembers the records of one store that could not be read. They are left as they are: others must not suffer,
// and a later version of libcnm, or whoever mends them, knows better.
type unreadable struct {
	log *slog.Logger

	mu    sync.Mutex // guards byKey
	byKey map[string]string
}

func newUnreadable(log *slog.Logger) *unreadable {
	return &unreadable{log: log, byKey: make(map[string]string)}
}

// note remembers, and says once, why a record cannot be read.
func (u *unreadable) note(key string, why error) {
	text := why.Error()
	u.mu.Lock()
	known := u.byKey[key] == text
	u.byKey[key] = text
	u.mu.Unlock()
	if !known {
		u.log.Error("record cannot be read and is ignored", "key", key, "error", why)
	}
}

// forget is for a record that was read, or is gone.
func (u *unreadable) forget(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byKey, key)
}

// listed forgets what is not among all records with the prefix.
func (u *unreadable) listed(prefix string, all []store.Record) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.byKey) == 0 {
		return
	}
	there := make(map[string]bool, len(all))
	for _, raw := range all {
		there[raw.Key] = true
	}
	maps.DeleteFunc(u.byKey, func(key, _ string) bool { return strings.HasPrefix(key, prefix) && !there[key] })
}

// drifts names the records.
func (u *unreadable) drifts() []Drift {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []Drift
	for _, key := range slices.Sorted(maps.Keys(u.byKey)) {
		list = append(list, Drift{Object: "record " + printable(key), Want: "readable", Have: u.byKey[key]})
	}
	return list
}

// readEach reads all records with the prefix, but for those that cannot be: they are noted, and their keys returned.
func readEach[T any](u *unreadable, prefix string, all []store.Record, read func(store.Record) (T, error)) (list []T, bad []string) {
	u.listed(prefix, all)
	for _, raw := range all {
		value, err := read(raw)
		if err != nil {
			u.note(raw.Key, err)
			bad = append(bad, raw.Key)
			continue
		}
		u.forget(raw.Key)
		list = append(list, value)
	}
	return list, bad
}

// unreadableIn are the records of st that this controller has met and could not read.
func (c *NetworkController) unreadableIn(st store.Store) *unreadable {
	if st == c.local {
		return c.unreadableHere
	}
	return c.unreadableShared
}
