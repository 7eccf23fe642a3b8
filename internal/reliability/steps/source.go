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
)

// Apart are the steps that no controller makes in the rigs of these tests, with who dies at them instead, or why nobody does.
var Apart = map[string]string{
	"cut journal":              "store/local: TestDeathAtEveryStep",
	"remove temporary journal": "store/local: TestDeathAtEveryStep",
	"set damaged store aside":  "store/local: TestDeathAtEveryStep",
	"make cgroup":              "needs a cgroup hierarchy, which no host here has: TestCgroup of the root package has one",
	"remove cgroup":            "likewise",
	"revoke lease in etcd":     "the node's name is somebody else's, and the controller has nothing: tests of the root package",
	"permit file":              "somebody has changed the mode of a file: internal/etcfiles",
}

// namers are the functions whose first argument names a step.
var namers = map[string]bool{"Do": true, "newChange": true, "addressChange": true, "change": true}

// InSource returns the names of all steps that the library has, by its source below root.
func InSource(root string) ([]string, error) {
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
		return nil, err
	}
	return slices.Sorted(maps.Keys(names)), nil
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
