package libcnm

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameLen is the longest name of a network, endpoint, node, alias or container: a DNS label (RFC 1035, 2.3.4), because
// names become host names in the networks they belong to.
const maxNameLen = 63

// checkName refuses everything but 1-63 of [A-Za-z0-9_.-] starting with a letter or digit, before a byte of it
// reaches a key, a file or another program.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty: %w", what, ErrInvalid)
	case len(name) > maxNameLen:
		return fmt.Errorf("%s %s has %d characters, at most %d are allowed: %w",
			what, printable(name), len(name), maxNameLen, ErrInvalid)
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if alnum || i > 0 && (c == '_' || c == '.' || c == '-') {
			continue
		}
		return fmt.Errorf("%s %s: character %d is not allowed, names are letters, digits and _.- starting with a letter or digit: %w",
			what, printable(name), i+1, ErrInvalid)
	}
	return nil
}

// maxPath is the kernel's PATH_MAX without its final zero.
const maxPath = 4095

// checkPath refuses what is no absolute, printable path. Records and logs carry paths, and JSON would not return one that
// is not UTF-8 as it was given.
func checkPath(what, path string) error {
	switch {
	case len(path) > maxPath:
		return fmt.Errorf("%s %s is longer than %d bytes: %w", what, printable(path), maxPath, ErrInvalid)
	case !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s %s is not printable: %w", what, printable(path), ErrInvalid)
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s %s is not absolute: %w", what, printable(path), ErrInvalid)
	}
	return nil
}

// printable returns name as it is when it is harmless in a log line, else quoted; very long ones are cut.
func printable(name string) string {
	const most = 80
	if len(name) > most {
		name = name[:most] + "..."
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' || name[i] == '"' || name[i] == '\\' {
			return strconv.Quote(name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}

// newID returns 128 random bits as 32 hexadecimal digits.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// isID reports whether s has the shape of newID's result.
func isID(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
