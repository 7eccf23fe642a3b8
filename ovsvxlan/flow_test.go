package ovsvxlan_test

import (
	"errors"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ovsvxlan"
)

func TestParseFlow(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"dump", " cookie=0x636e010200000000, table=80, priority=100,ip,reg0=0x64,nw_dst=10.1.0.4 actions=dec_ttl,resubmit(,100)",
			"cookie=0x636e010200000000,table=80,priority=100,ip,nw_dst=10.1.0.4,reg0=0x64,actions=dec_ttl,resubmit(,100)"},
		{"dump of table 0 without cookie", " priority=200,vlan_tci=0x1000/0x1000 actions=drop",
			"cookie=0x0,table=0,priority=200,vlan_tci=0x1000/0x1000,actions=drop"},
		{"default priority", " table=3, ip actions=drop", "cookie=0x0,table=3,priority=32768,ip,actions=drop"},
		{"no match", " priority=0 actions=drop", "cookie=0x0,table=0,priority=0,actions=drop"},
		{"go-openvswitch", "priority=100,udp6,in_port=11,tp_dst=4789,table=20,idle_timeout=0,cookie=0x636e0101000000,actions=drop",
			"cookie=0x636e0101000000,table=20,priority=100,udp6,in_port=11,tp_dst=4789,actions=drop"},
		{"actions with commas and equal signs", "table=90,priority=1,ip,actions=ct(commit,table=91,zone=7,nat(src=169.254.64.7))",
			"cookie=0x0,table=90,priority=1,ip,actions=ct(commit,table=91,zone=7,nat(src=169.254.64.7))"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := ovsvxlan.ParseFlow(tt.line)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.String(); got != tt.want {
				t.Errorf("ParseFlow(%q)\n got %s\nwant %s", tt.line, got, tt.want)
			}
		})
	}
}

func TestParseFlowRefuses(t *testing.T) {
	for _, line := range []string{
		"",
		"table=1,priority=1,ip",
		"table=1,priority=1,ip,actions=",
		"table=1,priority=1,ip actions=drop, drop",
		"table=256,actions=drop",
		"table=,actions=drop",
		"priority=65536,actions=drop",
		"cookie=12x,actions=drop",
		"idle_timeout=10,ip,actions=drop",
		"hard_timeout=10,ip,actions=drop",
		"xactions=drop",
	} {
		if f, err := ovsvxlan.ParseFlow(line); !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("ParseFlow(%q) = %v, %v; want ErrInvalid", line, f, err)
		}
	}
}

func TestNamedFlow(t *testing.T) {
	f := must(ovsvxlan.ParseFlow("cookie=0x1,table=90,priority=100,ip,reg0=0x64,actions=ct(commit,table=91,zone=7),resubmit(,80),resubmit(,17)"))(t)
	const want = "table=egress priority=100 ip,reg0=0x64 actions=ct(commit,table=egress_out,zone=7),resubmit(,route),resubmit(,17)"
	if got := f.Named(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzParseFlow checks that what is accepted has one canonical form.
func FuzzParseFlow(f *testing.F) {
	bridge, rest := openGolden(f, "testdata/egress.txtar").node.compile(f)
	for _, p := range []ovsvxlan.Program{bridge, rest} {
		for _, flow := range p.Flows() {
			f.Add(flow.String())
		}
	}
	f.Add(" cookie=0x1, table=1, priority=1,ip actions=drop")
	f.Fuzz(func(t *testing.T, line string) {
		flow, err := ovsvxlan.ParseFlow(line)
		if err != nil {
			if !errors.Is(err, errdefs.ErrInvalid) {
				t.Fatalf("error without a class: %v", err)
			}
			return
		}
		again, err := ovsvxlan.ParseFlow(flow.String())
		if err != nil || again != flow {
			t.Fatalf("%q\nparsed as %#v\nagain as  %#v, %v", line, flow, again, err)
		}
	})
}
