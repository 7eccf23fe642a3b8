package iptables

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
)

// Each golden file holds specs and the two rulesets they compile to; -update writes the rulesets.
func TestCompileGolden(t *testing.T) {
	for name, specs := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".txtar")
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			a.Files = a.Files[:1]
			for _, f := range families {
				a.Files = append(a.Files, txtar.File{Name: string(f) + ".rules", Data: []byte(compile(t, f, specs...).String())})
			}
			testutil.Golden(t, path, string(txtar.Format(a)))
		})
	}
}

// goldens returns the specs of all golden files.
func goldens(t *testing.T) map[string][]Spec {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	all := make(map[string][]Spec)
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Files) == 0 || a.Files[0].Name != "spec.json" {
			t.Fatalf("%s: the first file must be spec.json", path)
		}
		var specs []Spec
		if err := json.Unmarshal(a.Files[0].Data, &specs); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".txtar")] = specs
	}
	return all
}

func compile(t testing.TB, f Family, specs ...Spec) Ruleset {
	t.Helper()
	r, err := Compile(f, specs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCompileIgnoresOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, specs := range goldens(t) {
		for _, f := range families {
			want := compile(t, f, specs...).String()
			for range 10 {
				shuffle(rnd, specs)
				for i := range specs {
					shuffle(rnd, specs[i].Networks)
					shuffle(rnd, specs[i].TunnelPorts)
					for j := range specs[i].Networks {
						shuffle(rnd, specs[i].Networks[j].Subnets)
						shuffle(rnd, specs[i].Networks[j].Gateways)
					}
				}
				if got := compile(t, f, specs...).String(); got != want {
					t.Fatalf("%s: order matters in %s:\n%s\nbefore:\n%s", name, f, got, want)
				}
			}
		}
	}
}

func shuffle[T any](rnd *rand.Rand, s []T) {
	rnd.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// The admin's chain is only ever made where it is missing and jumped to first.
func TestCompileLeavesUserChainAlone(t *testing.T) {
	for name, specs := range goldens(t) {
		for _, f := range families {
			text := compile(t, f, specs...).String()
			for l := range strings.Lines(text) {
				if strings.Contains(l, userChain) && l != "-N CNM-USER\n" && l != "-A CNM-FORWARD -j CNM-USER\n" {
					t.Errorf("%s: %s: %q", name, f, l)
				}
			}
			if i := strings.Index(text, "-A CNM-FORWARD"); strings.Contains(text, "*filter") &&
				!strings.Contains(text[i:], "-A CNM-FORWARD -j CNM-USER") {
				t.Errorf("%s: %s: no jump to CNM-USER", name, f)
			}
		}
	}
}

func TestCompileRefusesWhatClashes(t *testing.T) {
	a, b := bridgeNetwork(0), bridgeNetwork(1)
	sameInterface, sameGateway := b, b
	sameInterface.Interface = a.Interface
	sameGateway.Gateways = slices.Clone(a.Gateways)
	one := Spec{Owner: "bridge", Networks: []Network{a}}
	for _, tt := range []struct {
		name  string
		specs []Spec
		want  error
		names string
	}{
		{"owner twice", []Spec{one, one}, errdefs.ErrInvalid, "bridge"},
		{"id twice", []Spec{{Owner: "bridge", Networks: []Network{a, a}}}, errdefs.ErrInvalid, a.ID},
		{"interface twice", []Spec{{Owner: "bridge", Networks: []Network{a, sameInterface}}}, errdefs.ErrConflict, a.Interface},
		{"gateway twice", []Spec{{Owner: "bridge", Networks: []Network{a, sameGateway}}}, errdefs.ErrConflict, "10.1.0.1"},
		{"interface of another owner", []Spec{one, {Owner: "z", Networks: []Network{sameInterface}}}, errdefs.ErrConflict, "bridge/" + a.ID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Compile(IPv4, tt.specs...)
			if !errors.Is(err, tt.want) || !strings.Contains(fmt.Sprint(err), tt.names) {
				t.Errorf("error %v, want one of class %q that names %q", err, tt.want, tt.names)
			}
			if r.String() != "" {
				t.Errorf("rules in spite of the error:\n%s", r)
			}
		})
	}
}
