package demo

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// planned is the world of the demonstration, with the addresses that the rig would give.
func planned() *world {
	w := newWorld()
	w.outside = [2]netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8:113::2")}
	for host := range hosts {
		w.underlay = append(w.underlay, [2]netip.Addr{
			netip.AddrFrom4([4]byte{172, 31, 1, byte(host + 1)}),
			netip.AddrFrom16([16]byte{0: 0xfd, 2: 0x31, 15: byte(host + 1)}),
		})
	}
	return w
}

// perfect is what a library without a fault makes be seen.
func (w *world) perfect() answers {
	seen := answers{}
	for _, q := range w.questions(everyNetwork, true) {
		if a := w.expected(q); a != (answer{}) {
			seen[q] = []answer{a}
		}
	}
	return seen
}

func TestPlan(t *testing.T) {
	w := planned()
	if len(w.boxes) != 18 {
		t.Errorf("%d sandboxes, want two for each of blue, green and lan on three hosts", len(w.boxes))
	}
	for family := range 2 {
		blue, green := w.box("blue-2a").addrs[family], w.box("green-2a").addrs[family]
		if blue != green {
			t.Errorf("blue has %s where green has %s: they must be the same", blue, green)
		}
	}
	seen := map[string]bool{}
	for _, b := range w.boxes {
		if seen[b.who()] {
			t.Errorf("two sandboxes are called %s", b.who())
		}
		seen[b.who()] = true
	}
	if w.box("blue-4a") != nil || w.network("red") != nil {
		t.Error("something is found that is not there")
	}
}

func TestExpected(t *testing.T) {
	w := planned()
	for _, tc := range []struct {
		name, from, to, want string
	}{
		{"same network, same host", "blue-1a", "10.10.0.12", "blue-1b@host1, asked from 10.10.0.11"},
		{"same network, other host", "blue-1a", "fd10::1f", "blue-3a@host3, asked from fd10::b"},
		{"the twin network", "green-1a", "10.10.0.31", "green-3a@host3, asked from 10.10.0.11"},
		{"bridge, same host", "lan-2a", "10.20.0.22", "lan-2b@host2, asked from 10.20.0.21"},
		{"bridge, other host", "lan-2a", "10.20.0.11", "nobody"},
		{"overlay to bridge", "blue-2a", "10.20.0.21", "nobody"},
		{"bridge to overlay", "lan-2a", "fd10::15", "nobody"},
		{"outside, from the host's address", "green-3a", "203.0.113.2", "outside, asked from 172.31.1.3"},
		{"outside over IPv6", "lan-1a", "2001:db8:113::2", "outside, asked from fd00:3100::1"},
		{"outside from an internal network", "lan-3a", "203.0.113.2", "nobody"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := w.expected(question{w.box(tc.from), netip.MustParseAddr(tc.to)}).String()
			if got != tc.want {
				t.Errorf("%s asks %s: %s, want %s", tc.from, tc.to, got, tc.want)
			}
		})
	}
}

func TestExpectedAfterMove(t *testing.T) {
	w := planned()
	moved := w.box("blue-1b")
	moved.host = 3
	for _, tc := range []struct{ from, to, want string }{
		{"blue-2a", "10.10.0.12", "blue-1b@host3, asked from 10.10.0.21"},
		{"blue-1b", "203.0.113.2", "outside, asked from 172.31.1.3"},
	} {
		if got := w.expected(question{w.box(tc.from), netip.MustParseAddr(tc.to)}).String(); got != tc.want {
			t.Errorf("%s asks %s: %s, want %s", tc.from, tc.to, got, tc.want)
		}
	}
}

func TestQuestions(t *testing.T) {
	w := planned()
	// 18 askers, 6 overlay and 6 bridge addresses and the outside, in two families; blue and green share theirs.
	if n := len(w.questions(everyNetwork, true)); n != 18*13*2 {
		t.Errorf("%d questions, want %d", n, 18*13*2)
	}
	if n := len(w.questions(isOverlay, false)); n != 12*6*2 {
		t.Errorf("%d questions among overlays, want %d", n, 12*6*2)
	}
}

func TestMatrix(t *testing.T) {
	w := planned()
	testutil.Golden(t, "testdata/expected.txt", w.renderExpected(style{}))
	testutil.Golden(t, "testdata/perfect.txt", w.renderSeen(w.perfect(), style{}))
	if d := w.differences(w.questions(everyNetwork, true), w.perfect()); len(d) > 0 {
		t.Errorf("nothing is wrong, and differs: %q", d)
	}
}

// TestFaults seeds every kind of fault and looks at how the matrix and the list of differences show it.
func TestFaults(t *testing.T) {
	w := planned()
	seen := w.perfect()
	at := func(from, to string) question { return question{w.box(from), netip.MustParseAddr(to)} }
	// Silence over IPv6 only.
	delete(seen, at("blue-1a", "fd10::15"))
	// The other network's owner answers instead, and besides.
	other := answer{who: "green-2a@host2", source: netip.MustParseAddr("10.10.0.12")}
	seen[at("blue-1b", "10.10.0.21")] = []answer{other}
	seen[at("blue-2b", "10.10.0.11")] = append(seen[at("blue-2b", "10.10.0.11")], answer{who: "green-1a@host1", source: other.source})
	// A way that should not be, over the gateway.
	seen[at("lan-1a", "10.10.0.11")] = []answer{{who: "blue-1a@host1", source: netip.MustParseAddr("169.254.64.3")}}
	// Out of an internal network, and not with the host's address.
	seen[at("lan-3b", "203.0.113.2")] = []answer{{who: outsideName, source: netip.MustParseAddr("172.31.1.3")}}
	seen[at("green-3a", "203.0.113.2")] = []answer{{who: outsideName, source: netip.MustParseAddr("10.10.0.31")}}

	differ := w.differences(w.questions(everyNetwork, true), seen)
	slices.Sort(differ)
	testutil.Golden(t, "testdata/faults.txt", w.renderSeen(seen, style{})+"\n"+strings.Join(differ, "\n")+"\n")
}

func TestColours(t *testing.T) {
	w := planned()
	seen := w.perfect()
	delete(seen, question{w.box("blue-1a"), w.box("blue-1b").addrs[0]})
	coloured := w.renderSeen(seen, style{colour: true})
	for _, want := range []string{"\x1b[32m46\x1b[0m ", "\x1b[2m==\x1b[0m ", "\x1b[1;37;41m.6!\x1b[0m"} {
		if !strings.Contains(coloured, want) {
			t.Errorf("the matrix has no %q:\n%s", want, coloured)
		}
	}
	if plain := w.renderSeen(seen, style{}); strings.Contains(plain, "\x1b") {
		t.Errorf("colours without a terminal:\n%s", plain)
	}
}
