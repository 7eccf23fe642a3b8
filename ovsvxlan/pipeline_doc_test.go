package ovsvxlan_test

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"text/template"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// TestPipelineDoc compares docs/pipeline.md with what the goldens make of its template. It fails when the page is
// stale, when a table is not described, and when the template asks for flows that no golden has.
func TestPipelineDoc(t *testing.T) {
	described := map[string]bool{}
	tables := map[string]ovsvxlan.Table{}
	for n := range math.MaxUint8 + 1 {
		if table := ovsvxlan.Table(n); table.String() != fmt.Sprint(n) {
			tables[table.String()] = table
		}
	}
	code := func(what string, lines []string) (string, error) {
		if len(lines) == 0 {
			return "", fmt.Errorf("no golden line for %s", what)
		}
		return "```\n" + strings.Join(lines, "\n") + "\n```", nil
	}
	golden := func(name string) []string {
		text := openGolden(t, filepath.Join("testdata", name+".txtar")).section(flowsFile)
		return strings.Split(strings.TrimSpace(text), "\n")
	}
	page := template.Must(template.New("pipeline.md.tmpl").Funcs(template.FuncMap{
		"table": func(name string) (string, error) {
			table, ok := tables[name]
			if !ok {
				return "", fmt.Errorf("no table %s", name)
			}
			described[name] = true
			return fmt.Sprintf("### %d `%s`", table, name), nil
		},
		"flows": func(file, table string) (string, error) {
			var lines []string
			for _, line := range golden(file) {
				if flow, ok := strings.CutPrefix(line, "table="+table+" "); ok {
					lines = append(lines, flow)
				}
			}
			return code(file+" "+table, lines)
		},
		"groups": func(file string) (string, error) {
			var lines []string
			for _, line := range golden(file) {
				if strings.HasPrefix(line, "group_id=") {
					lines = append(lines, line)
				}
			}
			return code(file+" groups", lines)
		},
		"kinds": func() string {
			return fmt.Sprintf("%d bridge, %d network, %d members, %d endpoint, %d peer", ovsvxlan.KindBase, ovsvxlan.KindNetwork,
				ovsvxlan.KindMembers, ovsvxlan.KindEndpoint, ovsvxlan.KindPeer)
		},
		"goldens": func() string {
			var b strings.Builder
			for _, path := range must(filepath.Glob("testdata/*.txtar"))(t) {
				about := strings.TrimSpace(string(openGolden(t, path).archive.Comment))
				fmt.Fprintf(&b, "- [%s](../ovsvxlan/%s): %s\n", strings.TrimSuffix(filepath.Base(path), ".txtar"), path, strings.ReplaceAll(about, "\n", " "))
			}
			return strings.TrimSpace(b.String())
		},
	}).ParseFiles("testdata/pipeline.md.tmpl"))

	var out strings.Builder
	if err := page.Execute(&out, nil); err != nil {
		t.Fatal(err)
	}
	for name := range tables {
		if !described[name] {
			t.Errorf("table %s is not described in testdata/pipeline.md.tmpl", name)
		}
	}
	testutil.Golden(t, "../docs/pipeline.md", out.String())
}
