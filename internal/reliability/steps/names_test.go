package steps

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are steps that no life here has, with who dies at them instead.
var elsewhere = map[string]string{
	"cut journal":              "store/local: TestDeathAtEveryStep",
	"remove temporary journal": "store/local: TestDeathAtEveryStep",
	"set damaged store aside":  "store/local: TestDeathAtEveryStep",
	"make cgroup":              "needs a cgroup hierarchy: TestCgroup of the root package",
	"remove cgroup":            "needs a cgroup hierarchy: TestCgroup of the root package",
	"revoke lease in etcd":     "the node's name is somebody else's: tests of the root package",
	"permit file":              "somebody has changed the mode of a file: internal/etcfiles",
}

// missing names the steps of the library's source that are not among the seen.
func missing(t *testing.T, seen map[string]bool) []string {
	t.Helper()
	names := namesInSource(t)
	if len(names) < 40 {
		t.Errorf("only %d names of steps in the source", len(names))
	}
	for name := range elsewhere {
		if !slices.Contains(names, name) {
			t.Errorf("%q is in the table, and not in the source", name)
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return seen[name] || elsewhere[name] != "" })
}

// namers are the functions whose first argument names a step.
var namers = map[string]bool{"Do": true, "newChange": true, "addressChange": true, "change": true}

func namesInSource(t *testing.T) []string {
	t.Helper()
	const root = "../../.."
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "build", "bench", "examples", "testdata", "testutil", "reliability", "step", "cmd":
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if name := stepNamed(n); name != "" {
				names[name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(names))
}

// stepNamed returns the step that a call names.
func stepNamed(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return ""
	}
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	text, ok := call.Args[0].(*ast.BasicLit)
	if !ok || !namers[name] || text.Kind != token.STRING {
		return ""
	}
	value, err := strconv.Unquote(text.Value)
	if err != nil {
		return ""
	}
	for _, preposition := range []string{" of", " on", " by"} { // as internal/link does
		value = strings.TrimSuffix(value, preposition)
	}
	return value
}
