package link

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// maxName is the longest interface name: IFNAMSIZ less its terminating zero.
const maxName = unix.IFNAMSIZ - 1

// CheckName reports whether s can name an interface here: 1 to 15 of [A-Za-z0-9_.-], starting with a letter or digit.
// The kernel takes much more, with meanings nobody wants. Anything else is ErrInvalid.
func CheckName(s string) error {
	if s == "" || len(s) > maxName {
		return fmt.Errorf("interface name %q: want 1 to %d characters: %w", s, maxName, errdefs.ErrInvalid)
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && (i == 0 || c != '_' && c != '.' && c != '-') {
			return fmt.Errorf("interface name %q: character %q at %d: %w", s, c, i, errdefs.ErrInvalid)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// HashName makes an interface name of prefix and the first digits (hexadecimal, at most 64) of a hash of ids. User names
// never become interface names; IDs become them this way.
func HashName(prefix string, digits int, ids ...string) string {
	h := sha256.New()
	for _, id := range ids {
		fmt.Fprintf(h, "%d:%s", len(id), id)
	}
	return prefix + hex.EncodeToString(h.Sum(nil))[:digits]
}
