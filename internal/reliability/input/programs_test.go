package input

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wrapper stands for every program there is: it writes down how it was called and becomes the real one.
const wrapper = `#!/bin/sh
name=${0##*/}
printf '%%s\0' "$name" "$@" > %[1]s/call.$$ && /bin/cat %[1]s/call.$$ >> %[1]s/calls && /bin/rm -f %[1]s/call.$$
for dir in %[2]s; do
	[ -x "$dir/$name" ] && exec "$dir/$name" "$@"
done
exit 127
`

// programs watches what programs are started with, by this process and by agents that it starts from then on.
type programs struct{ log string }

// watchPrograms puts the wrapper before every program of the PATH.
func watchPrograms(t *testing.T) programs {
	t.Helper()
	dir, logs := t.TempDir(), t.TempDir()
	real := filepath.SplitList(os.Getenv("PATH"))
	script := filepath.Join(dir, ".wrapper")
	text := fmt.Sprintf(wrapper, logs, strings.Join(real, " "))
	must(t, os.WriteFile(script, []byte(text), 0o755))
	for _, from := range real {
		entries, err := os.ReadDir(from)
		if err != nil {
			continue // a directory of the PATH may be absent
		}
		for _, entry := range entries {
			if err := os.Symlink(script, filepath.Join(dir, entry.Name())); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir)
	return programs{log: filepath.Join(logs, "calls")}
}

// argForm is what arguments are made of: options, paths, addresses and numbers, but nothing that a shell, a rule or a flow
// gives a meaning to.
var argForm = regexp.MustCompile(`\A[A-Za-z0-9_./:=,@%+-]*\z`)

// check returns the arguments that libcnm would not have given, and how many there were.
func (p programs) check(t *testing.T, forbidden string) (strange []string, seen int) {
	t.Helper()
	text, err := os.ReadFile(p.log)
	must(t, err)
	for arg := range strings.SplitSeq(string(text), "\x00") {
		seen++
		if !argForm.MatchString(arg) || strings.Contains(arg, forbidden) {
			strange = append(strange, fmt.Sprintf("argument %q", arg))
		}
	}
	return strange, seen
}
