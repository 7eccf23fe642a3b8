package input

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// rights are what everything in the data and run directories has, by how its path ends. The files for /etc are for the
// container's users, who are any; runtimes mount them from where only root comes.
var rights = []struct {
	suffix string
	mode   fs.FileMode
}{
	{"/hosts", 0o644}, {"/hostname", 0o644}, {"/resolv.conf", 0o644},
	{"/libcnm.db", 0o600}, {"/libcnm.db.journal", 0o600}, {"/cluster", 0o600}, {"/cluster.journal", 0o600}, {"/run/lock", 0o600},
}

// TestLeastRights lives with every kind of object under the umasks that allow everything and nothing, and looks at all
// files, directories and sockets that are there then.
func TestLeastRights(t *testing.T) {
	for _, umask := range []int{0, 0o077} {
		t.Run(fmt.Sprintf("umask %03o", umask), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			old := syscall.Umask(umask)
			defer syscall.Umask(old)
			w := newWorldIn(t, dir)
			n, err := w.c.NewNetwork(t.Context(), "bridge", "real", libcnm.WithSubnet(netip.MustParsePrefix("10.77.0.0/24")))
			must(t, err)
			defer func() { must(t, n.Delete(t.Context())) }()
			ep, err := n.CreateEndpoint(t.Context(), "real")
			must(t, err)
			must(t, ep.Join(t.Context(), w.sb))
			defer func() {
				must(t, w.sb.Delete(t.Context()))
				must(t, ep.Delete(t.Context()))
			}()
			wrong := misplaced(t, dir)
			for _, text := range wrong {
				t.Error(text)
			}
			report.Add(t, report.Figures{Leaks: len(wrong)})
		})
	}
}

// misplaced names everything below dir with other rights than the least that work, or of another owner.
func misplaced(t *testing.T, dir string) []string {
	t.Helper()
	var wrong []string
	files := 0
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := entry.Info()
		if err != nil {
			return err
		}
		if uid := fi.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
			wrong = append(wrong, fmt.Sprintf("%s belongs to %d", path, uid))
		}
		want, known := fs.ModeDir|0o700, fi.IsDir()
		if filepath.Base(filepath.Dir(path)) == "netns" {
			want, known = 0o444, true // that of a mounted namespace, which the kernel chooses
		}
		for _, r := range rights {
			if strings.HasSuffix(path, r.suffix) {
				want, known = r.mode, true
				files++
			}
		}
		if !known || fi.Mode() != want {
			wrong = append(wrong, fmt.Sprintf("%s has mode %s, want %s (known: %v)", path, fi.Mode(), want, known))
		}
		return nil
	}))
	if files < 6 {
		t.Errorf("only %d files in %s", files, dir)
	}
	return wrong
}

// TestDirectoriesOfOthers: who can write to the directories could put namespaces and records there, so they are refused.
func TestDirectoriesOfOthers(t *testing.T) {
	private := func(t *testing.T) string {
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o700))
		return dir
	}
	mkdir := func(t *testing.T, mode os.FileMode, elem ...string) string {
		dir := filepath.Join(elem...)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.Chmod(dir, mode))
		return dir
	}
	for _, tc := range []struct {
		name string
		make func(t *testing.T) string
		says string // "": it is accepted
	}{
		{"absent", func(t *testing.T) string { return filepath.Join(private(t), "a", "b") }, ""},
		{"readable", func(t *testing.T) string { return mkdir(t, 0o755, private(t), "d") }, ""},
		{"in a sticky one", func(t *testing.T) string {
			return filepath.Join(mkdir(t, 0o777|fs.ModeSticky, private(t), "tmp"), "d")
		}, ""},
		{"by a link", func(t *testing.T) string {
			dir := private(t)
			must(t, os.Symlink(mkdir(t, 0o700, dir, "d"), filepath.Join(dir, "link")))
			return filepath.Join(dir, "link")
		}, ""},
		{"for everybody", func(t *testing.T) string { return mkdir(t, 0o777, private(t), "d") }, "can be written to by others"},
		{"for a group", func(t *testing.T) string { return mkdir(t, 0o770, private(t), "d") }, "can be written to by others"},
		{"sticky for everybody", func(t *testing.T) string { return mkdir(t, 0o777|fs.ModeSticky, private(t), "d") }, "can be written to by others"},
		{"in one for everybody", func(t *testing.T) string {
			return filepath.Join(mkdir(t, 0o777, private(t), "open"), "d", "e")
		}, "can be replaced by others"},
		{"by a link to one for everybody", func(t *testing.T) string {
			dir := private(t)
			must(t, os.Symlink(mkdir(t, 0o777, dir, "d"), filepath.Join(dir, "link")))
			return filepath.Join(dir, "link")
		}, "can be written to by others"},
	} {
		for _, which := range []string{"data", "run"} {
			t.Run(tc.name+" "+which, func(t *testing.T) {
				dir, other := tc.make(t), filepath.Join(private(t), "other")
				opts := []libcnm.Option{libcnm.WithDataDir(dir), libcnm.WithRunDir(other)}
				if which == "run" {
					opts = []libcnm.Option{libcnm.WithDataDir(other), libcnm.WithRunDir(dir)}
				}
				log, _ := testutil.NewLogs(t)
				c, err := libcnm.New(t.Context(), append(opts, libcnm.WithLogger(log))...)
				if err == nil {
					must(t, c.Close())
				}
				wantRefusal(t, err, tc.says, libcnm.ErrInvalid, dirName(dir))
				if entries, err := os.ReadDir(dir); tc.says != "" && err == nil && len(entries) > 0 {
					t.Errorf("%s of a refused New was left in %s", entries[0].Name(), dir)
				}
			})
		}
	}
}

// dirName is the part of the path that an error about it has, also when it was reached by a link.
func dirName(dir string) string {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		real = dir
	}
	parts := strings.Split(real, "/")
	return strings.Join(parts[:min(len(parts), slices.Index(parts, "001")+1)], "/")
}
