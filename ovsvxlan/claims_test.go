package ovsvxlan_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/ovsvxlan"
)

var (
	blue = ovsvxlan.Network{
		ID: "blue", VNI: 100, Internal: true, GatewayMAC: ovsvxlan.MAC{2, 0, 0, 0, 0, 1},
		Subnets: []ovsvxlan.Subnet{
			{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.1")},
			{Prefix: netip.MustParsePrefix("fd01::/64"), Gateway: netip.MustParseAddr("fd01::1")},
		},
	}
	vtep = netip.MustParseAddr("192.0.2.2")
)

// testMAC and testAddr are the nth of their kind; testAddr(1) is the gateway's.
func testMAC(n int) ovsvxlan.MAC { return ovsvxlan.MAC{2, 1, 0, byte(n >> 16), byte(n >> 8), byte(n)} }
func testAddr(n int) netip.Addr  { return netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}) }

func peer(id string, generation uint64, mac int, addrs ...int) ovsvxlan.Peer {
	p := ovsvxlan.Peer{ID: id, Network: "blue", MAC: testMAC(mac), VTEP: vtep, Generation: generation}
	for _, n := range addrs {
		p.Addrs = append(p.Addrs, testAddr(n))
	}
	return p
}

func endpoint(id string, port uint32, mac int, addrs ...int) ovsvxlan.Endpoint {
	e := ovsvxlan.Endpoint{ID: id, Network: "blue", Port: port, MAC: testMAC(mac)}
	for _, n := range addrs {
		e.Addrs = append(e.Addrs, testAddr(n))
	}
	return e
}

// at gives an endpoint a generation.
func at(generation uint64, e ovsvxlan.Endpoint) ovsvxlan.Endpoint {
	e.Generation = generation
	return e
}

// owners writes who owns what, as "peer b: [10.1.0.2]".
func owners(c *ovsvxlan.Claims) []string {
	var out []string
	for _, o := range c.Objects() {
		if e, ok := c.Endpoint(o.ID); ok && o.Kind == ovsvxlan.KindEndpoint {
			out = append(out, fmt.Sprintf("endpoint %s: %v", e.ID, e.Addrs))
		}
		if p, ok := c.Peer(o.ID); ok && o.Kind == ovsvxlan.KindPeer {
			out = append(out, fmt.Sprintf("peer %s: %v", p.ID, p.Addrs))
		}
	}
	slices.Sort(out)
	return out
}

func TestClaims(t *testing.T) {
	type step struct {
		name string
		do   func(c *ovsvxlan.Claims) []ovsvxlan.Object
		want []string // owners afterwards
		news []string // whose program may differ
	}
	set := func(p ovsvxlan.Peer) func(*ovsvxlan.Claims) []ovsvxlan.Object {
		return func(c *ovsvxlan.Claims) []ovsvxlan.Object { return c.SetPeer(p) }
	}
	del := func(id string, generation uint64) func(*ovsvxlan.Claims) []ovsvxlan.Object {
		return func(c *ovsvxlan.Claims) []ovsvxlan.Object { return c.DeletePeer(id, generation) }
	}
	local := func(e ovsvxlan.Endpoint) func(*ovsvxlan.Claims) []ovsvxlan.Object {
		return func(c *ovsvxlan.Claims) []ovsvxlan.Object { return c.SetEndpoint(e) }
	}
	gone := func(id string) func(*ovsvxlan.Claims) []ovsvxlan.Object {
		return func(c *ovsvxlan.Claims) []ovsvxlan.Object { return c.DeleteEndpoint(id) }
	}
	all := func(peers ...ovsvxlan.Peer) func(*ovsvxlan.Claims) []ovsvxlan.Object {
		return func(c *ovsvxlan.Claims) []ovsvxlan.Object { return c.ReplacePeers(peers) }
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"a late delete does not remove a newer owner", []step{
			{"old", set(peer("a", 1, 2, 2)), []string{"peer a: [10.1.0.2]"}, []string{"a"}},
			{"new", set(peer("b", 5, 3, 2)), []string{"peer a: []", "peer b: [10.1.0.2]"}, []string{"a", "b"}},
			{"late delete", del("a", 1), []string{"peer b: [10.1.0.2]"}, []string{"a"}},
			{"later delete", del("a", 1), []string{"peer b: [10.1.0.2]"}, nil},
		}},
		{"order of arrival does not matter", []step{
			{"new", set(peer("b", 5, 3, 2)), []string{"peer b: [10.1.0.2]"}, []string{"b"}},
			{"old", set(peer("a", 1, 2, 2)), []string{"peer a: []", "peer b: [10.1.0.2]"}, []string{"a"}},
		}},
		{"one peer's older generation is ignored", []step{
			{"moved", set(peer("a", 7, 2, 3)), []string{"peer a: [10.1.0.3]"}, []string{"a"}},
			{"late set", set(peer("a", 6, 2, 2)), []string{"peer a: [10.1.0.3]"}, nil},
			{"late delete", del("a", 6), []string{"peer a: [10.1.0.3]"}, nil},
			{"same again", set(peer("a", 7, 2, 3)), []string{"peer a: [10.1.0.3]"}, nil},
			{"delete", del("a", 7), nil, []string{"a"}},
		}},
		{"what is still wanted comes back", []step{
			{"old", set(peer("a", 1, 2, 2, 3)), []string{"peer a: [10.1.0.2 10.1.0.3]"}, []string{"a"}},
			{"new", set(peer("b", 5, 3, 2)), []string{"peer a: [10.1.0.3]", "peer b: [10.1.0.2]"}, []string{"a", "b"}},
			{"new goes", del("b", 5), []string{"peer a: [10.1.0.2 10.1.0.3]"}, []string{"a", "b"}},
		}},
		{"what is not wanted any more stays away", []step{
			{"old", set(peer("a", 1, 2, 2)), []string{"peer a: [10.1.0.2]"}, []string{"a"}},
			{"new", set(peer("b", 5, 3, 2)), []string{"peer a: []", "peer b: [10.1.0.2]"}, []string{"a", "b"}},
			{"old goes", del("a", 1), []string{"peer b: [10.1.0.2]"}, []string{"a"}},
			{"new goes", del("b", 5), nil, []string{"b"}},
		}},
		{"without its MAC a peer has nothing", []step{
			{"old", set(peer("a", 1, 2, 2)), []string{"peer a: [10.1.0.2]"}, []string{"a"}},
			{"new", set(peer("b", 5, 2, 3)), []string{"peer b: [10.1.0.3]"}, []string{"a", "b"}},
			{"new takes another", set(peer("b", 6, 3, 3)), []string{"peer a: [10.1.0.2]", "peer b: [10.1.0.3]"}, []string{"a", "b"}},
		}},
		{"a local endpoint and a peer: the newer wins", []step{
			{"peer", set(peer("a", 7, 2, 2)), []string{"peer a: [10.1.0.2]"}, []string{"a"}},
			{"not yet removed here", local(at(6, endpoint("a", 11, 2, 2))), []string{"peer a: [10.1.0.2]"}, []string{"a"}},
			{"moved here", local(at(9, endpoint("a", 11, 2, 2))), []string{"endpoint a: [10.1.0.2]"}, []string{"a"}},
			{"same again", local(at(9, endpoint("a", 11, 2, 2))), []string{"endpoint a: [10.1.0.2]"}, nil},
			{"another peer", set(peer("b", 12, 3, 2)), []string{"endpoint a: []", "peer b: [10.1.0.2]"}, []string{"a", "b"}},
			{"left", gone("a"), []string{"peer a: []", "peer b: [10.1.0.2]"}, []string{"a"}},
			{"left again", gone("a"), []string{"peer a: []", "peer b: [10.1.0.2]"}, nil},
		}},
		{"a local endpoint wins over a peer of its generation", []step{
			{"peer", set(peer("a", 7, 2, 2)), []string{"peer a: [10.1.0.2]"}, []string{"a"}},
			{"endpoint", local(at(7, endpoint("b", 11, 3, 2))), []string{"endpoint b: [10.1.0.2]", "peer a: []"}, []string{"a", "b"}},
			{"left", gone("b"), []string{"peer a: [10.1.0.2]"}, []string{"a", "b"}},
		}},
		{"the newer of two local endpoints wins", []step{
			{"newer", local(at(4, endpoint("z", 11, 2, 2))), []string{"endpoint z: [10.1.0.2]"}, []string{"z"}},
			{"older", local(at(3, endpoint("a", 12, 3, 2))), []string{"endpoint a: []", "endpoint z: [10.1.0.2]"}, []string{"a"}},
			{"older becomes newer", local(at(5, endpoint("a", 12, 3, 2))), []string{"endpoint a: [10.1.0.2]", "endpoint z: []"}, []string{"a", "z"}},
			{"the other changes its port", local(at(4, endpoint("z", 13, 2, 2))), []string{"endpoint a: [10.1.0.2]", "endpoint z: []"}, []string{"z"}},
			{"the other leaves", gone("z"), []string{"endpoint a: [10.1.0.2]"}, []string{"z"}},
		}},
		{"without generations the lower ID of two local endpoints wins, whoever comes first", []step{
			{"first", local(endpoint("z", 11, 2, 2)), []string{"endpoint z: [10.1.0.2]"}, []string{"z"}},
			{"second", local(endpoint("a", 12, 3, 2)), []string{"endpoint a: [10.1.0.2]", "endpoint z: []"}, []string{"a", "z"}},
		}},
		{"nobody gets the gateway's", []step{
			{"address", local(endpoint("a", 11, 2, 1, 2)), []string{"endpoint a: [10.1.0.2]"}, []string{"a"}},
			{"MAC", func(c *ovsvxlan.Claims) []ovsvxlan.Object {
				p := peer("b", 1, 0, 3)
				p.MAC = blue.GatewayMAC
				return c.SetPeer(p)
			}, []string{"endpoint a: [10.1.0.2]"}, []string{"b"}},
		}},
		{"replace", []step{
			{"two", all(peer("a", 1, 2, 2), peer("b", 5, 3, 3)), []string{"peer a: [10.1.0.2]", "peer b: [10.1.0.3]"}, []string{"a", "b"}},
			{"same", all(peer("b", 5, 3, 3), peer("a", 1, 2, 2)), []string{"peer a: [10.1.0.2]", "peer b: [10.1.0.3]"}, nil},
			{"one older, one gone", all(peer("b", 4, 3, 4)), []string{"peer b: [10.1.0.3]"}, []string{"a"}},
			{"none", all(), nil, []string{"b"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ovsvxlan.NewClaims(blue)
			for _, s := range tt.steps {
				var changed []string
				for _, o := range s.do(c) {
					changed = append(changed, o.ID)
				}
				slices.Sort(changed)
				changed = slices.Compact(changed)
				if diff := cmp.Diff(s.want, owners(c)); diff != "" {
					t.Errorf("%s: owners (-want +got):\n%s", s.name, diff)
				}
				if diff := cmp.Diff(s.news, changed); diff != "" {
					t.Errorf("%s: changed (-want +got):\n%s", s.name, diff)
				}
			}
		})
	}
}

// incremental keeps programs by what Claims says has changed, as the switch does.
type incremental map[ovsvxlan.Object]ovsvxlan.Program

func (i incremental) update(t *testing.T, c *ovsvxlan.Claims, changed []ovsvxlan.Object) {
	for _, o := range changed {
		delete(i, o)
		if p, ok := compileClaim(t, c, o); ok {
			i[o] = p
		}
	}
}

func compileClaim(t *testing.T, c *ovsvxlan.Claims, o ovsvxlan.Object) (ovsvxlan.Program, bool) {
	if o.Kind == ovsvxlan.KindEndpoint {
		e, ok := c.Endpoint(o.ID)
		if !ok {
			return ovsvxlan.Program{}, false
		}
		return must(ovsvxlan.CompileEndpoint(testBase, blue, e))(t), true
	}
	p, ok := c.Peer(o.ID)
	if !ok {
		return ovsvxlan.Program{}, false
	}
	return must(ovsvxlan.CompilePeer(testBase, blue, p))(t), true
}

// TestClaimsRandomWalk changes endpoints and peers that fight for few addresses, and after each change compares what
// was compiled step by step with a start from nothing: the same flows, and no flow wanted by two objects.
func TestClaimsRandomWalk(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c, programs := ovsvxlan.NewClaims(blue), incremental{}
	peers := map[string]ovsvxlan.Peer{} // a plain model: the newest generation of each that was not deleted
	locals := map[string]ovsvxlan.Endpoint{}
	for range 1000 {
		id := string(rune('a' + random.IntN(5)))
		addrs := random.Perm(6)[:random.IntN(3)] // 1 is the gateway's
		mac, generation := 2+random.IntN(4), random.Uint64N(30)
		switch random.IntN(8) {
		case 0:
			programs.update(t, c, c.DeleteEndpoint(id))
			delete(locals, id)
		case 1:
			locals[id] = at(generation, endpoint(id, uint32(11+id[0]-'a'), mac, addrs...))
			programs.update(t, c, c.SetEndpoint(locals[id]))
		case 2, 3:
			programs.update(t, c, c.DeletePeer(id, generation))
			if peers[id].Generation <= generation {
				delete(peers, id)
			}
		case 4:
			all := []ovsvxlan.Peer{peer(id, generation, mac, addrs...)}
			programs.update(t, c, c.ReplacePeers(all))
			maps.DeleteFunc(peers, func(other string, _ ovsvxlan.Peer) bool { return other != id })
			if peers[id].Generation <= generation {
				peers[id] = all[0]
			}
		default:
			p := peer(id, generation, mac, addrs...)
			programs.update(t, c, c.SetPeer(p))
			if peers[id].Generation <= generation {
				peers[id] = p
			}
		}

		full, known := incremental{}, 0
		for _, o := range c.Objects() {
			full.update(t, c, []ovsvxlan.Object{o})
			if o.Kind == ovsvxlan.KindPeer {
				known++
			}
		}
		want := must(ovsvxlan.Merge(slices.Collect(maps.Values(full))...))(t)
		have := must(ovsvxlan.Merge(slices.Collect(maps.Values(programs))...))(t)
		if d := ovsvxlan.Diff(have, want); d.Len() != 0 {
			t.Fatalf("compiled step by step differs: %v", d.Differences())
		}
		if known != len(peers) {
			t.Fatalf("knows %d peers, should be %v", known, slices.Collect(maps.Keys(peers)))
		}
		for _, addr := range blueAddrs(6) {
			if got, want := ownerOf(c, addr), newest(locals, peers, addr); got != want {
				t.Fatalf("%s belongs to %q, should to %q", addr, got, want)
			}
		}
	}
}

// blueAddrs are the addresses that are fought for, the gateway's among them.
func blueAddrs(n int) []netip.Addr {
	out := make([]netip.Addr, n)
	for i := range out {
		out[i] = testAddr(i)
	}
	return out
}

// ownerOf names who has addr, whether or not packets can be sent there; several if there are several.
func ownerOf(c *ovsvxlan.Claims, addr netip.Addr) (owner string) {
	for _, o := range c.Objects() {
		e, _ := c.Endpoint(o.ID)
		p, _ := c.Peer(o.ID)
		if o.Kind == ovsvxlan.KindEndpoint && slices.Contains(e.Addrs, addr) {
			owner += "endpoint " + o.ID
		}
		if o.Kind == ovsvxlan.KindPeer && slices.Contains(p.Addrs, addr) {
			owner += "peer " + o.ID
		}
	}
	return owner
}

// newest says by the rules who should have addr.
func newest(locals map[string]ovsvxlan.Endpoint, peers map[string]ovsvxlan.Peer, addr netip.Addr) (owner string) {
	best := uint64(0)
	for _, id := range slices.Sorted(maps.Keys(locals)) {
		e := locals[id]
		if slices.Contains(e.Addrs, addr) && (owner == "" || e.Generation > best) {
			owner, best = "endpoint "+id, e.Generation
		}
	}
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		p := peers[id]
		if slices.Contains(p.Addrs, addr) && (owner == "" || p.Generation > best) {
			owner, best = "peer "+id, p.Generation
		}
	}
	if addr == blue.Subnets[0].Gateway {
		return ""
	}
	return owner
}
