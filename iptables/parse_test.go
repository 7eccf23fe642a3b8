package iptables

import (
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{`-o cnm+ ! -i cnm+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`, `! -i cnm+ -o cnm+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`, true},
		{`-d 10.0.0.1/32 -j DROP`, `-d 10.0.0.1 -j DROP`, true},
		{`-d fd00::1/128 -j DROP`, `-d fd00::1 -j DROP`, true},
		{`-d fd00::/32 -j DROP`, `-d fd00:: -j DROP`, false},
		{`-p udp --dport 1 -j DROP`, `-p udp -m udp --dport 1 -j DROP`, true},
		{`-m comment --comment "libcnm:a:b" -j DROP`, `-m comment --comment libcnm:a:b -j DROP`, true},
		{`-m comment --comment "a -j ACCEPT" -j DROP`, `-m comment --comment a -j ACCEPT -j DROP`, false},
		{`-i a -j DROP`, `! -i a -j DROP`, false},
		{`-i a -j DROP`, `-o a -j DROP`, false},
		{`-i a -j DROP`, `-i a -g DROP`, false},
		{`-i a`, `-i a -j DROP`, false},
		{`-m owner --socket-exists -j DROP`, `-m owner ! --socket-exists -j DROP`, false},
	} {
		if got := canonical(tt.a) == canonical(tt.b); got != tt.same {
			t.Errorf("%s\n%s\nsame: %t, want %t\n%q\n%q", tt.a, tt.b, got, tt.same, canonical(tt.a), canonical(tt.b))
		}
	}
}

func TestMarked(t *testing.T) {
	for rule, want := range map[string]networkKey{
		`-i a -m comment --comment "libcnm:bridge:0a" -j DROP`: {"bridge", "0a"},
		`-i a -m comment --comment libcnm:bridge -j DROP`:      {"bridge", ""},
		`-i a -m comment --comment libcnm -j DROP`:             {},
		`-i a -m comment --comment other:bridge:0a -j DROP`:    {},
		`-i a -m comment --comment libcnm:a:b:c -j DROP`:       {},
		`-i a -j DROP`: {},
	} {
		if got := marked(rule); got != want {
			t.Errorf("%s: %v, want %v", rule, got, want)
		}
	}
}

func TestParseSaveRefuses(t *testing.T) {
	for _, text := range []string{
		":INPUT ACCEPT [0:0]\n", // before any table
		"-A INPUT -j DROP\n",
		"*filter\n-A INPUT -j DROP\n", // not declared
		"*filter\n:INPUT\n",
		"*filter\nwhat is this\n",
	} {
		if d, err := parseSave([]byte(text)); err == nil {
			t.Errorf("%q: read as %v", text, d)
		}
	}
}

// Whatever a host's other programs wrote, reading it does not fail oddly, and the plan never speaks of their chains.
func FuzzPlan(f *testing.F) {
	want, err := Compile(IPv4, dualSpec)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("# x\n*filter\n:INPUT ACCEPT [0:0]\n:CNM-USER - [0:0]\n-A INPUT -m comment --comment libcnm -j CNM-INPUT\n-A CNM-USER -j CNM-X\nCOMMIT\n")
	f.Add("*filter\n:FORWARD DROP [1:2]\n:ufw - [0:0]\n-A ufw -m comment --comment \"a \\\" b\" -j DROP\n-A ufw -g CNM-OLD\n:CNM-OLD - [0:0]\nCOMMIT\n")
	f.Add(strings.ReplaceAll(strings.ReplaceAll(want.String(), "-I FORWARD 1", "-A FORWARD"), "*filter\n", "*filter\n:FORWARD ACCEPT [0:0]\n"))
	f.Fuzz(func(t *testing.T, save string) {
		d, err := parseSave([]byte(save))
		if err != nil {
			return
		}
		for _, r := range []Ruleset{want, {family: IPv4}} {
			text, diffs := plan(d, r)
			real := 0
			for _, diff := range diffs {
				if !diff.Kept {
					real++
				}
			}
			if (text == "") != (real == 0) {
				t.Errorf("%d differences, text %q", real, text)
			}
			for l := range strings.Lines(text) {
				words := strings.Fields(l)
				switch chain := strings.TrimPrefix(words[0], ":"); {
				case words[0][0] == '*' || words[0] == "COMMIT":
				case words[0][0] == ':' && !ownChain(chain):
					t.Errorf("empties %q", l)
				case (words[0] == "-A" || words[0] == "-N" || words[0] == "-X") && !strings.HasPrefix(words[1], chainPrefix):
					t.Errorf("writes %q", l)
				case words[0] == "-A" && !ownChain(words[1]):
					t.Errorf("adds %q", l)
				case words[0] == "-D" && !ourJump(strings.TrimPrefix(strings.TrimSpace(l), "-D "+words[1])):
					t.Errorf("deletes %q", l)
				}
			}
		}
	})
}
