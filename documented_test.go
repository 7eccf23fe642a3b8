package libcnm_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestEntryPointsHaveExamples looks for every exported function and method in the code of the examples.
func TestEntryPointsHaveExamples(t *testing.T) {
	shown := map[string]bool{}
	for _, file := range parse(t, func(name string) bool { return strings.HasPrefix(name, "example_") }) {
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if fn, ok := call.Fun.(*ast.SelectorExpr); ok {
					shown[fn.Sel.Name] = true
				}
			}
			return true
		})
	}
	entries := 0
	for _, file := range parse(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") }) {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || !exportedReceiver(fn) {
				continue
			}
			switch fn.Name.Name {
			case "Error", "Unwrap": // are called by errors.Is and fmt
				continue
			}
			entries++
			if !shown[fn.Name.Name] {
				t.Errorf("%s is in no example", fn.Name.Name)
			}
		}
	}
	if entries < 50 {
		t.Errorf("only %d entry points found", entries)
	}
}

// parse reads the files of this package that match.
func parse(t *testing.T, match func(name string) bool) []*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	must(t, err)
	var files []*ast.File
	for _, name := range names {
		if !match(name) {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		files = append(files, file)
	}
	return files
}

// exportedReceiver reports whether a function is no method, or one of an exported type.
func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported()
}
