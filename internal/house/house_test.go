package house

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository's top.
const root = "../.."

// maxLines is where a file stops being one idea. Tests and generated code may be longer.
const maxLines = 400

// repository calls visit for every file that a commit could hold, with its path relative to the root.
func repository(t *testing.T, visit func(name string, src string)) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", "bin", "build", "testdata":
				return fs.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(name); ext != ".go" && ext != ".md" {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		seen++
		visit(filepath.ToSlash(rel), string(src))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Fatalf("only %d files under %s: this is not the repository", seen, root)
	}
}

func complain(t *testing.T, name string, complaints []string) {
	t.Helper()
	for _, c := range complaints {
		t.Errorf("%s: %s", name, c)
	}
}

func TestFilesAreShort(t *testing.T) {
	repository(t, func(name, src string) { complain(t, name, tooLong(name, src)) })
}

func tooLong(name, src string) []string {
	if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || generated.MatchString(src) {
		return nil
	}
	if lines := strings.Count(src, "\n"); lines > maxLines {
		return []string{fmt.Sprintf("%d lines, at most %d are one idea: split it", lines, maxLines)}
	}
	return nil
}

// generated is the mark that go/ast.IsGenerated looks for.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func TestNothingIsPutOff(t *testing.T) {
	repository(t, func(name, src string) { complain(t, name, putOff(name, src)) })
}

// later is spelled so that this file does not break its own rule.
var later = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)

func putOff(name, src string) []string {
	if path.Ext(name) != ".go" {
		return nil
	}
	var complaints []string
	for i, line := range strings.Split(src, "\n") {
		// A forbidden function is named for what it forbids.
		line = strings.ReplaceAll(line, "context.TO"+"DO", "")
		if mark := later.FindString(line); mark != "" {
			complaints = append(complaints, fmt.Sprintf("line %d: %s: do it, or open an issue", i+1, mark))
		}
	}
	return complaints
}

func TestPackagesAreDocumented(t *testing.T) {
	packages := map[string][]string{} // directory -> sources
	repository(t, func(name, src string) {
		if path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") {
			packages[path.Dir(name)] = append(packages[path.Dir(name)], src)
		}
	})
	for dir, sources := range packages {
		complain(t, dir, undocumented(sources))
	}
}

func undocumented(sources []string) []string {
	for _, src := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), "", src, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			return []string{err.Error()}
		}
		// A directive alone is no text.
		if file.Doc != nil && strings.TrimSpace(file.Doc.Text()) != "" {
			return nil
		}
	}
	return []string{"no file has a package comment"}
}

func TestLinksLead(t *testing.T) {
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
		return err == nil
	}
	repository(t, func(name, src string) { complain(t, name, deadLinks(name, src, exists)) })
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// deadLinks looks at links to files of the repository, not at those to the world.
func deadLinks(name, src string, exists func(string) bool) []string {
	if path.Ext(name) != ".md" {
		return nil
	}
	var complaints []string
	for _, m := range link.FindAllStringSubmatch(src, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target == "" || strings.Contains(target, ":") {
			continue
		}
		if to := path.Join(path.Dir(name), target); !exists(to) {
			complaints = append(complaints, fmt.Sprintf("link to %s, which does not exist", to))
		}
	}
	return complaints
}
