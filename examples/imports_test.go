// Package examples_test holds what is true of all examples together.
package examples_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An example is there to be copied, so it may import only what its reader can: the public packages, and little else.
func TestExamplesCanBeCopied(t *testing.T) {
	allowed := []string{
		"github.com/libcnm/libcnm",
		"github.com/libcnm/libcnm/drivers",
		"github.com/libcnm/libcnm/examples/customdriver/lan",
		"github.com/vishvananda/netlink", // a driver's tools
		"github.com/vishvananda/netns",
		"go.etcd.io/etcd/client/v3",
	}
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if host, _, _ := strings.Cut(path, "/"); strings.Contains(host, ".") && !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 4 {
		t.Errorf("only %d files seen", files)
	}
}
