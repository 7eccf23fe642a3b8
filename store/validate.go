package store

import (
	"fmt"
	"strings"
	"time"
)

// The limits every store has. They are etcd's (128 operations, 1.5 MiB a request) with room for what surrounds the data,
// and hold for the local store too, so that a commit which works on one node works in a cluster.
const (
	MaxKey   = 512     // bytes of a key
	MaxOps   = 128     // guards, and ops, of one Commit
	MaxBytes = 1 << 20 // keys and values of one Commit
)

// CheckKey returns ErrInvalid unless key is one a Store accepts.
func CheckKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("key %.40q...: longer than %d bytes: %w", key, MaxKey, ErrInvalid)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("key %q: part %q is not allowed: %w", key, part, ErrInvalid)
		}
		if i := strings.IndexFunc(part, badRune); i >= 0 {
			return fmt.Errorf("key %q: only A-Z a-z 0-9 _ . : - are allowed between slashes: %w", key, ErrInvalid)
		}
	}
	return nil
}

func badRune(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("_.:-", r)
}

// CheckPrefix returns ErrInvalid unless prefix is "" or a key followed by "/".
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("prefix %.40q: must end in a slash: %w", prefix, ErrInvalid)
	}
	return CheckKey(key)
}

// CheckCommit returns ErrInvalid unless guards and ops make a Commit that a Store accepts. Implementations call it before
// anything else.
func CheckCommit(guards []Guard, ops []Op) error {
	if len(guards) > MaxOps || len(ops) > MaxOps {
		return fmt.Errorf("commit of %d guards and %d ops: the limit is %d of each: %w", len(guards), len(ops), MaxOps, ErrInvalid)
	}
	size := 0
	for _, g := range guards {
		if err := g.validate(); err != nil {
			return err
		}
		size += len(g.Key)
	}
	for _, op := range ops {
		if err := op.validate(); err != nil {
			return err
		}
		size += len(op.Key) + len(op.Value)
	}
	if size > MaxBytes {
		return fmt.Errorf("commit of %d bytes: the limit is %d: %w", size, MaxBytes, ErrInvalid)
	}
	return checkOverlap(ops)
}

func (g Guard) validate() error {
	if g.Prefix {
		return checkWholePrefix("guard", g.Key)
	}
	if g.Rev < 0 {
		return fmt.Errorf("guard %s: revision %d is negative: %w", g.Key, g.Rev, ErrInvalid)
	}
	return CheckKey(g.Key)
}

func (op Op) validate() error {
	if !op.Delete {
		if op.Prefix {
			return fmt.Errorf("put %.40q: a put takes no prefix: %w", op.Key, ErrInvalid)
		}
		return CheckKey(op.Key)
	}
	if op.Value != nil || op.Lease != nil {
		return fmt.Errorf("delete %.40q: a delete takes no value and no lease: %w", op.Key, ErrInvalid)
	}
	if op.Prefix {
		return checkWholePrefix("delete", op.Key)
	}
	return CheckKey(op.Key)
}

// checkWholePrefix refuses "", which a List may ask for but which in a commit would mean the whole store.
func checkWholePrefix(verb, prefix string) error {
	if prefix == "" {
		return fmt.Errorf("%s prefix %q: would be the whole store: %w", verb, prefix, ErrInvalid)
	}
	return CheckPrefix(prefix)
}

// checkOverlap returns ErrInvalid if two ops touch one key: their order would decide, and a transaction has none.
func checkOverlap(ops []Op) error {
	seen := make(map[string]bool, len(ops))
	for _, op := range ops {
		if seen[op.Key] {
			return fmt.Errorf("commit: two ops on %s: %w", op.Key, ErrInvalid)
		}
		seen[op.Key] = true
	}
	for _, p := range ops {
		if !p.Prefix {
			continue
		}
		for _, op := range ops {
			if op.Key != p.Key && strings.HasPrefix(op.Key, p.Key) {
				return fmt.Errorf("commit: op on %s is under deleted prefix %s: %w", op.Key, p.Key, ErrInvalid)
			}
		}
	}
	return nil
}

// Check returns nil if g holds in a store where found is the revision of its key, or of some key under it when it is a
// prefix; 0 means there is none. Else it returns an ErrConflict that says what differs. It is for implementations.
func (g Guard) Check(found Rev) error {
	var differs string
	switch {
	case g.Prefix && found != 0:
		differs = "is not empty"
	case g.Prefix || g.Any && found != 0 || !g.Any && g.Rev == found:
		return nil
	case g.Any:
		differs = "does not exist"
	case g.Rev == 0:
		differs = fmt.Sprintf("already exists, since revision %d", found)
	case found == 0:
		differs = fmt.Sprintf("was deleted after revision %d", g.Rev)
	default:
		differs = fmt.Sprintf("was changed by revision %d after revision %d", found, g.Rev)
	}
	return fmt.Errorf("%s %s: %w", g.Key, differs, ErrConflict)
}

// CheckWatch returns ErrInvalid unless a Watch can start there.
func CheckWatch(prefix string, after Rev) error {
	if after < 0 {
		return fmt.Errorf("watch %q: revision %d is negative: %w", prefix, after, ErrInvalid)
	}
	return CheckPrefix(prefix)
}

// CheckTTL returns ErrInvalid for a lease that would be too short to keep alive.
func CheckTTL(ttl time.Duration) error {
	if ttl < time.Second {
		return fmt.Errorf("lease of %v: the shortest is %v: %w", ttl, time.Second, ErrInvalid)
	}
	return nil
}
