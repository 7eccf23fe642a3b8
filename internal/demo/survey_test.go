package demo

import (
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// TestSurvey asks over real sockets: one sandbox that answers, one that does not, and one that says another's name.
func TestSurvey(t *testing.T) {
	testutil.NoLeaks(t)
	n := &network{name: "blue", driver: overlayDriver}
	w := &world{networks: []*network{n}, underlay: make([][2]netip.Addr, hosts)}
	places := map[*box]*testutil.NS{}
	segment := testutil.NewNS(t) // routes between the sandboxes
	segment.Sysctl(t, "net/ipv4/ip_forward", "1")
	segment.Sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	for i, says := range []string{"blue-1@host1", "", "green-3@host1"} {
		last := byte(i + 1)
		b := &box{network: n, slot: string('1' + rune(i)), host: 1, addrs: [2]netip.Addr{
			netip.AddrFrom4([4]byte{10, 10, last, 2}), netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x10, 7: last, 15: 2}),
		}}
		ns := testutil.NewNS(t)
		port := "port" + b.slot
		testutil.Connect(t, segment, port, ns, "eth0")
		for _, a := range b.addrs {
			router := netip.PrefixFrom(a.Prev(), 24)
			if a.Is6() {
				router = netip.PrefixFrom(a.Prev(), 64)
			}
			segment.AddAddr(t, port, router)
			ns.AddAddr(t, "eth0", netip.PrefixFrom(a, router.Bits()))
			ns.AddRoute(t, netip.Prefix{}, router.Addr())
		}
		if says != "" {
			if _, err := startResponder(t, ns, says); err != nil {
				t.Fatal(err)
			}
		}
		w.boxes, places[b] = append(w.boxes, b), ns
	}
	w.boxes[1].network = &network{name: "dark"} // so that nobody expects it to answer, and the survey does not wait
	asker, silent, liar := w.boxes[0], w.boxes[1], w.boxes[2]
	var questions []question
	for family := range 2 {
		for _, to := range []*box{silent, liar} {
			questions = append(questions, question{asker, to.addrs[family]})
		}
		questions = append(questions, question{liar, asker.addrs[family]})
	}
	seen, err := w.ask(t.Context(), places, questions)
	if err != nil {
		t.Fatal(err)
	}
	for family := range 2 {
		if got := seen[question{asker, silent.addrs[family]}]; len(got) > 0 {
			t.Errorf("a sandbox without a responder answers %v", got)
		}
		want := answer{who: "green-3@host1", source: asker.addrs[family]}
		if got := seen[question{asker, liar.addrs[family]}]; len(got) != 1 || got[0] != want {
			t.Errorf("answers %v, want %v", got, want)
		}
		if q := (question{liar, asker.addrs[family]}); !w.asExpected(q, seen[q]) {
			t.Errorf("answers %v, want %v", seen[q], w.expected(q))
		}
	}
	if differ := w.differences(questions, seen); len(differ) != 2 {
		t.Errorf("differences %q, want the liar's two", differ)
	}
}
