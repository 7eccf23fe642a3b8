package ovsvxlan_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// Each file in testdata is one feature, and is used three times: what spec.json compiles to is flows.txt
// (TestGoldenCompile); a real switch that is given that dumps the same (TestGoldenSwitch); and frames sent through it
// in the mind of ofproto/trace end as trace.txt says (TestGoldenTrace). docs/pipeline.md is made of them. Run with
// -update to write flows.txt and the verdicts, and read what changed.
const (
	specFile  = "spec.json"
	flowsFile = "flows.txt"
	traceFile = "trace.txt"
)

// node is what spec.json holds: everything one node knows. Where a test says nothing else, the bridge is testBase.
type node struct {
	Base      *ovsvxlan.Base      `json:"base,omitempty"`
	Networks  []ovsvxlan.Network  `json:"networks,omitempty"`
	Endpoints []ovsvxlan.Endpoint `json:"endpoints,omitempty"`
	Peers     []ovsvxlan.Peer     `json:"peers,omitempty"`
	Members   []ovsvxlan.Members  `json:"members,omitempty"` // without ports: those are the endpoints'
}

var testBase = ovsvxlan.Base{
	TunnelPort:     1,
	TunnelUDPPort:  4789,
	GatewayPort:    2,
	GatewayMAC:     ovsvxlan.MAC{0x02, 0, 0, 0, 0xff, 0x02},
	GatewayHostMAC: ovsvxlan.MAC{0x02, 0, 0, 0, 0xff, 0x01},
	TransitPrefix4: netip.MustParsePrefix("169.254.64.0/18"),
	TransitPrefix6: netip.MustParsePrefix("fd00:cc::/64"),
}

func (n node) base() ovsvxlan.Base {
	if n.Base != nil {
		return *n.Base
	}
	return testBase
}

// compile returns the program of the bridge and that of everything on it.
func (n node) compile(t testing.TB) (bridge, rest ovsvxlan.Program) {
	t.Helper()
	base := n.base()
	bridge = must(ovsvxlan.CompileBase(base))(t)
	var parts []ovsvxlan.Program
	for _, nw := range n.Networks {
		parts = append(parts, must(ovsvxlan.CompileNetwork(base, nw))(t))
		claims := ovsvxlan.NewClaims(nw)
		members := ovsvxlan.Members{Network: nw.ID}
		for _, m := range n.Members {
			if m.Network == nw.ID {
				members.VTEPs = m.VTEPs
			}
		}
		for _, e := range n.Endpoints {
			if e.Network == nw.ID {
				claims.SetEndpoint(e)
				members.Ports = append(members.Ports, e.Port)
			}
		}
		for _, p := range n.Peers {
			if p.Network == nw.ID {
				claims.SetPeer(p)
			}
		}
		parts = append(parts, must(ovsvxlan.CompileMembers(base, nw, members))(t))
		for _, o := range claims.Objects() {
			if e, ok := claims.Endpoint(o.ID); ok && o.Kind == ovsvxlan.KindEndpoint {
				parts = append(parts, must(ovsvxlan.CompileEndpoint(base, nw, e))(t))
			}
			if p, ok := claims.Peer(o.ID); ok && o.Kind == ovsvxlan.KindPeer {
				parts = append(parts, must(ovsvxlan.CompilePeer(base, nw, p))(t))
			}
		}
	}
	return bridge, must(ovsvxlan.Merge(parts...))(t)
}

// must is for calls whose error ends the test: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// named writes a program as flows.txt has it.
func named(p ovsvxlan.Program) string {
	var b strings.Builder
	for _, f := range p.Flows() {
		b.WriteString(f.Named() + "\n")
	}
	for _, g := range p.Groups() {
		b.WriteString(g.String() + "\n")
	}
	return b.String()
}

// golden is one file of testdata.
type golden struct {
	path    string
	archive *txtar.Archive
	node    node
}

// forEachGolden runs a subtest for each file; where the test changes a section of it, -update writes the file.
func forEachGolden(t *testing.T, test func(t *testing.T, g golden)) {
	paths := must(filepath.Glob("testdata/*.txtar"))(t)
	if len(paths) == 0 {
		t.Fatal("no goldens in testdata")
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { test(t, openGolden(t, path)) })
	}
}

func openGolden(t testing.TB, path string) golden {
	t.Helper()
	g := golden{path: path, archive: must(txtar.ParseFile(path))(t)}
	decode := json.NewDecoder(strings.NewReader(g.section(specFile)))
	decode.DisallowUnknownFields()
	if err := decode.Decode(&g.node); err != nil {
		t.Fatalf("%s: %s: %v", path, specFile, err)
	}
	return g
}

// flowsText is what flows.txt should hold. The bridge's own flows are the same everywhere, so only the golden that has
// nothing else shows them.
func (g golden) flowsText(bridge, rest ovsvxlan.Program) string {
	if len(g.node.Networks) == 0 {
		return named(bridge)
	}
	return named(rest)
}

func (g golden) section(name string) string {
	for _, f := range g.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// check compares a section with what it should be.
func (g golden) check(t *testing.T, name, got string) {
	t.Helper()
	if want := g.section(name); want == got {
		return
	} else if !testutil.Updating() {
		t.Errorf("%s: %s (-want +got), run the test with -update if the change is meant:\n%s", g.path, name, cmp.Diff(want, got))
		return
	}
	i := slices.IndexFunc(g.archive.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		i = len(g.archive.Files)
		g.archive.Files = append(g.archive.Files, txtar.File{Name: name})
	}
	g.archive.Files[i].Data = []byte(got)
	if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestKernelTakesProgram: on the kernel's datapath Open vSwitch refuses a program that sets one of these to a value.
func TestKernelTakesProgram(t *testing.T) {
	forEachGolden(t, func(t *testing.T, g golden) {
		for flow := range strings.Lines(g.section(flowsFile)) {
			if strings.Contains(flow, "->nd_options_type") || strings.Contains(flow, "->nd_reserved") {
				t.Errorf("sets a field that the kernel does not know: %s", flow)
			}
		}
	})
}

func TestGoldenCompile(t *testing.T) {
	forEachGolden(t, func(t *testing.T, g golden) {
		bridge, rest := g.node.compile(t)
		if _, err := ovsvxlan.Merge(bridge, rest); err != nil {
			t.Fatal(err)
		}
		g.check(t, flowsFile, g.flowsText(bridge, rest))
	})
}
