package ovsvxlan_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ovsvxlan"
)

func parseProgram(t testing.TB, flows, groups string) ovsvxlan.Program {
	t.Helper()
	return must(ovsvxlan.ParseDump([]byte(flows), []byte(groups)))(t)
}

func bundleText(t testing.TB, d ovsvxlan.Delta) string {
	t.Helper()
	return string(must(io.ReadAll(d.Bundle()))(t))
}

func TestDiff(t *testing.T) {
	have := parseProgram(t, `
 table=80, priority=100,ip,nw_dst=10.1.0.1 actions=drop
 table=80, priority=100,ip,nw_dst=10.1.0.2 actions=resubmit(,100)
 table=80, priority=90,ip,nw_dst=10.1.0.2 actions=drop
 cookie=0x1, table=100, priority=0 actions=drop`, `
OFPST_GROUP_DESC reply (OF1.5) (xid=0x2):
 group_id=1,type=all,bucket=bucket_id:0,actions=output:11,bucket=bucket_id:1,actions=output:12
 group_id=2,type=all
 group_id=3,type=all`)
	want := parseProgram(t, `
 table=80, priority=100,ip,nw_dst=10.1.0.1 actions=drop
 table=80, priority=100,ip,nw_dst=10.1.0.2 actions=drop
 table=80, priority=100,ip,nw_dst=10.1.0.3 actions=drop
 cookie=0x2, table=100, priority=0 actions=drop`, `
 group_id=1,type=all,bucket=actions=output:11,bucket=actions=output:12
 group_id=2,type=all,bucket=actions=output:11
 group_id=4,type=all`)
	d := ovsvxlan.Diff(have, want)

	const bundle = `group add_or_mod group_id=2,type=all,bucket=actions=output:11
group add_or_mod group_id=4,type=all
flow add cookie=0x0,table=80,priority=100,ip,nw_dst=10.1.0.2,actions=drop
flow add cookie=0x0,table=80,priority=100,ip,nw_dst=10.1.0.3,actions=drop
flow add cookie=0x2,table=100,priority=0,actions=drop
flow delete_strict table=80,priority=90,ip,nw_dst=10.1.0.2
group delete group_id=3
`
	if diff := cmp.Diff(bundle, bundleText(t, d)); diff != "" {
		t.Errorf("bundle (-want +got):\n%s", diff)
	}
	if err := iotest.TestReader(d.Bundle(), []byte(bundle)); err != nil {
		t.Error(err)
	}
	differences := []ovsvxlan.Difference{
		{"flow table=route priority=100 ip,nw_dst=10.1.0.2", "cookie=0x0 actions=drop", "cookie=0x0 actions=resubmit(,forward)"},
		{"flow table=route priority=100 ip,nw_dst=10.1.0.3", "cookie=0x0 actions=drop", ""},
		{"flow table=route priority=90 ip,nw_dst=10.1.0.2", "", "cookie=0x0 actions=drop"},
		{"flow table=forward priority=0", "cookie=0x2 actions=drop", "cookie=0x1 actions=drop"},
		{"group 2", "type=all,bucket=actions=output:11", "type=all"},
		{"group 3", "", "type=all"},
		{"group 4", "type=all", ""},
	}
	if diff := cmp.Diff(differences, d.Differences()); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if d.Len() != len(differences) {
		t.Errorf("Len is %d, there are %d differences", d.Len(), len(differences))
	}
}

// TestDiffRandomWalk goes from program to program by bundles, on a model of a switch.
func TestDiffRandomWalk(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	have, model := ovsvxlan.Program{}, map[string]string{}
	for range 300 {
		var flows []ovsvxlan.Flow
		var groups []ovsvxlan.Group
		for i := range 8 {
			if random.IntN(2) == 0 {
				flows = append(flows, ovsvxlan.Flow{Table: ovsvxlan.Table(i % 3), Priority: uint16(i), Actions: fmt.Sprintf("output:%d", random.IntN(2))})
			}
			if random.IntN(4) == 0 {
				groups = append(groups, ovsvxlan.Group{ID: uint32(i), Spec: fmt.Sprintf("type=all,bucket=actions=output:%d", random.IntN(2))})
			}
		}
		random.Shuffle(len(flows), func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
		want := must(ovsvxlan.NewProgram(flows, groups))(t)
		modelBundle(t, model, bundleText(t, ovsvxlan.Diff(have, want)))
		wantModel := map[string]string{}
		modelBundle(t, wantModel, bundleText(t, ovsvxlan.Diff(ovsvxlan.Program{}, want)))
		if !maps.Equal(model, wantModel) {
			t.Fatalf("from\n%sto\n%sthe switch has %v", named(have), named(want), model)
		}
		have = want
	}
}

// modelBundle does to a map what ovs-ofctl bundle does to a switch, as far as our bundles go.
func modelBundle(t *testing.T, model map[string]string, bundle string) {
	t.Helper()
	for line := range strings.Lines(bundle) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		what, object, _ := strings.Cut(rest, " ")
		switch verb + " " + what {
		case "group add_or_mod":
			id, spec, _ := strings.Cut(object, ",")
			model[id] = spec
		case "group delete":
			delete(model, object)
		case "flow add":
			key, actions, _ := strings.Cut(strings.TrimPrefix(object, "cookie=0x0,"), ",actions=")
			model[key] = actions
		case "flow delete_strict":
			if _, ok := model[object]; !ok {
				t.Fatalf("deletes %s, which is not there", object)
			}
			delete(model, object)
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
}

func TestMergeRefusesOneKeyTwice(t *testing.T) {
	a := parseProgram(t, "table=1,priority=1,ip actions=drop", "group_id=1,type=all")
	b := parseProgram(t, "table=1,priority=1,ip actions=resubmit(,2)", "")
	c := parseProgram(t, "", "group_id=1,type=all,bucket=actions=output:1")
	for _, other := range []ovsvxlan.Program{a, b, c} {
		if _, err := ovsvxlan.Merge(a, other); !errors.Is(err, errdefs.ErrConflict) {
			t.Errorf("Merge(a, %s): %v; want ErrConflict", named(other), err)
		}
	}
}

func TestParseDumpRefuses(t *testing.T) {
	for _, tt := range [][2]string{
		{"ovs-ofctl: cnm-int is not a bridge or a socket", ""},
		{"", "group_id=x,type=all"},
		{"", "group_id=1"},
		{"", "something else"},
		{"table=1,priority=x actions=drop", ""},
	} {
		if _, err := ovsvxlan.ParseDump([]byte(tt[0]), []byte(tt[1])); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("ParseDump(%q): %v; want ErrInvalid", tt, err)
		}
	}
}

func TestProgramIsImmutable(t *testing.T) {
	p := parseProgram(t, "table=1,priority=1,ip actions=drop", "group_id=1,type=all")
	before := named(p)
	p.Flows()[0].Actions = "resubmit(,2)"
	p.Groups()[0].Spec = "type=select"
	if got := named(p); got != before {
		t.Errorf("changed from outside:\n%s", got)
	}
}
