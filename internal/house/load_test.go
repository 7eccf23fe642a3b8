package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/libcnm/libcnm"

// unit is a package with its types.
type unit struct {
	path  string // within the module
	files []*ast.File
	info  *types.Info
}

// program is packages of the module, and what is needed to check more.
type program struct {
	fset     *token.FileSet
	units    []unit
	checked  map[string]*types.Package // of the module
	external types.Importer
}

// listed is what go list tells of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
}

func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	var list []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// load type-checks the packages of the module that the patterns name and those they import, without their tests.
func load(t *testing.T, patterns ...string) *program {
	t.Helper()
	p := &program{fset: token.NewFileSet(), checked: map[string]*types.Package{}}
	var own []listed
	var imports []string
	for _, l := range goList(t, patterns...) { // importers come after what they import
		if ours(l.ImportPath) {
			own = append(own, l)
			imports = append(imports, l.Imports...)
		}
	}
	slices.Sort(imports)
	imports = slices.DeleteFunc(slices.Compact(imports), func(path string) bool { return ours(path) || path == "unsafe" || path == "C" })
	exports := map[string]string{}
	for _, l := range goList(t, append([]string{"-export"}, imports...)...) {
		exports[l.ImportPath] = l.Export
	}
	p.external = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, l := range own {
		var files []*ast.File
		for _, name := range l.GoFiles {
			f, err := parser.ParseFile(p.fset, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		u, err := p.check(l.ImportPath, files)
		if err != nil {
			t.Fatal(err)
		}
		p.units = append(p.units, u)
	}
	return p
}

func (p *program) check(path string, files []*ast.File) (unit, error) {
	u := unit{path: strings.TrimPrefix(strings.TrimPrefix(path, module), "/"), files: files}
	u.info = &types.Info{Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	pkg, err := (&types.Config{Importer: p}).Check(path, p.fset, files, u.info)
	if err != nil {
		return u, fmt.Errorf("check %s: %w", path, err)
	}
	p.checked[path] = pkg
	return u, nil
}

// Import implements types.Importer.
func (p *program) Import(path string) (*types.Package, error) {
	if pkg := p.checked[path]; pkg != nil {
		return pkg, nil
	}
	return p.external.Import(path)
}
