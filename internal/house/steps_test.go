package house

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestEveryChangeIsAStep finds each change of a store or of the host that no test can end the process at. It believes of
// no function of the packages that lead outside that it changes nothing, unless the tables say so.
func TestEveryChangeIsAStep(t *testing.T) {
	p := load(t, "./...")
	used := map[string]bool{}
	steps := 0
	for _, u := range p.units {
		if slices.ContainsFunc(notLibrary, func(dir string) bool { return u.path == dir || strings.HasPrefix(u.path, dir+"/") }) {
			continue
		}
		found := p.outsideSteps(u, used)
		steps += found.steps
		for _, c := range found.complaints {
			t.Error(c)
		}
	}
	if steps < 20 {
		t.Errorf("%d steps found: this is not the library", steps)
	}
	for _, table := range []map[string]string{harmless, doors, exempt} {
		for name := range table {
			if !used[name] {
				t.Errorf("%s: in a table, and nobody uses it", name)
			}
		}
	}
}

// finding is what is said of a package.
type finding struct {
	complaints []string
	steps      int
}

// outsideSteps complains of uses of what may change something, not only of calls: a function that is kept to be called
// later has left our sight. It notes in used what it looked up in the tables.
func (p *program) outsideSteps(u unit, used map[string]bool) finding {
	var f finding
	for _, file := range u.files {
		for _, decl := range file.Decls {
			name := file.Name.Name + " variables"
			if fn, ok := decl.(*ast.FuncDecl); ok {
				name = declName(file, fn)
			}
			_, door := doors[name] // its users are looked at instead
			ast.Walk(walker{p: p, u: u, in: name, inStep: door, used: used, finding: &f}, decl)
		}
	}
	return f
}

// walker goes through a function. Copies of it are handed down the tree.
type walker struct {
	p      *program
	u      unit
	in     string // the function
	calls  []*ast.CallExpr
	inStep bool
	used   map[string]bool
	*finding
}

func (w walker) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.CallExpr:
		w.calls = append(slices.Clone(w.calls), n)
		if w.isStep(n) {
			w.steps++
			w.inStep = true
			// Its other arguments are evaluated before the step.
			for _, arg := range n.Args[:len(n.Args)-1] {
				outside := w
				outside.inStep = false
				ast.Walk(outside, arg)
			}
			ast.Walk(w, n.Args[len(n.Args)-1])
			return nil
		}
	case *ast.Ident:
		w.look(n)
	}
	return w
}

func (w walker) isStep(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	fn, ok := w.u.info.Uses[sel.Sel].(*types.Func)
	return ok && fn.Pkg() != nil && fn.Pkg().Path() == module+"/internal/step" && strings.HasPrefix(fn.Name(), "Do")
}

// look judges the use of a name.
func (w walker) look(id *ast.Ident) {
	obj := w.u.info.Uses[id]
	name := objectName(obj)
	_, door := doors[name]
	if name == "" || !door && !outside[obj.Pkg().Path()] {
		return
	}
	w.used[name] = true
	if _, ok := harmless[name]; ok || w.inStep || w.opensExisting(name) {
		return
	}
	if _, ok := exempt[w.in+" > "+name]; ok {
		w.used[w.in+" > "+name] = true
		return
	}
	w.complain(id, fmt.Sprintf("%s uses %s outside a step: put it into step.Do, or into a table with a reason", w.in, name))
}

// opensExisting reports whether the innermost call opens a file and leaves it as it is. What is written to it then is a
// change of its own.
func (w walker) opensExisting(name string) bool {
	if name != "os.OpenFile" && name != "unix.Open" {
		return false
	}
	flags := w.u.info.Types[w.calls[len(w.calls)-1].Args[1]].Value
	if flags == nil {
		return false
	}
	value, exact := constant.Int64Val(flags)
	return exact && value&int64(os.O_CREATE|os.O_TRUNC) == 0
}

func (w walker) complain(n ast.Node, text string) {
	at := w.p.fset.Position(n.Pos())
	w.complaints = append(w.complaints, fmt.Sprintf("%s:%d: %s", path.Join(w.u.path, path.Base(at.Filename)), at.Line, text))
}

// objectName is package.function, package.Type.method or package.Type.field; "" for what cannot be called.
func objectName(obj types.Object) string {
	switch obj := obj.(type) {
	case *types.Func:
		obj = obj.Origin()
		if obj.Pkg() == nil { // error.Error
			return ""
		}
		name := obj.Pkg().Name() + "."
		if recv := obj.Signature().Recv(); recv != nil {
			name += typeName(recv.Type())
		}
		return name + obj.Name()
	case *types.Var:
		if _, ok := obj.Type().Underlying().(*types.Signature); ok && obj.Pkg() != nil && obj.IsField() {
			if name := obj.Pkg().Name() + " field " + obj.Name(); doors[name] != "" {
				return name
			}
		}
	}
	return ""
}

func typeName(t types.Type) string {
	if ptr, ok := t.(*types.Pointer); ok {
		t = ptr.Elem()
	}
	if named, ok := t.(*types.Named); ok {
		return named.Obj().Name() + "."
	}
	return "interface." // one without a name
}

func declName(file *ast.File, fn *ast.FuncDecl) string {
	name := file.Name.Name + "."
	if fn.Recv != nil {
		recv := fn.Recv.List[0].Type
		if star, ok := recv.(*ast.StarExpr); ok {
			recv = star.X
		}
		switch generic := recv.(type) {
		case *ast.IndexExpr:
			recv = generic.X
		case *ast.IndexListExpr:
			recv = generic.X
		}
		if id, ok := recv.(*ast.Ident); ok {
			name += id.Name + "."
		}
	}
	return name + fn.Name.Name
}
