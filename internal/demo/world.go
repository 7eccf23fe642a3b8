package demo

import (
	"fmt"
	"net/netip"
)

// hosts is how many there are; slots is how many sandboxes each has in each network.
const (
	hosts = 3
	slots = 2
)

const (
	overlayDriver = "ovs-vxlan"
	bridgeDriver  = "bridge"
)

// network is one segment: an overlay network on all hosts, or a bridge network on one.
type network struct {
	name     string
	driver   string
	subnets  [2]netip.Prefix // IPv4, IPv6
	internal bool
	host     int // number of the only host; 0: all
	vni      uint32
}

// String tells networks of the same name on different hosts apart.
func (n *network) String() string {
	if n.host == 0 {
		return n.name
	}
	return fmt.Sprintf("%s on host%d", n.name, n.host)
}

// box is a sandbox with one endpoint of the same name.
type box struct {
	network *network
	slot    string // "2a": the first one that host2 got
	host    int    // where it is now
	addrs   [2]netip.Addr
}

func (b *box) name() string { return b.network.name + "-" + b.slot }

// who is what the box's responder says.
func (b *box) who() string { return fmt.Sprintf("%s@host%d", b.name(), b.host) }

const outsideName = "outside"

// world is everything that the matrix is about.
type world struct {
	networks []*network
	boxes    []*box
	outside  [2]netip.Addr
	underlay [][2]netip.Addr // of the hosts, from 1
}

// newWorld plans the networks and sandboxes. Blue and green have the same subnets and, in them, the same addresses.
func newWorld() *world {
	overlay := [2]netip.Prefix{netip.MustParsePrefix("10.10.0.0/24"), netip.MustParsePrefix("fd10::/64")}
	local := [2]netip.Prefix{netip.MustParsePrefix("10.20.0.0/24"), netip.MustParsePrefix("fd20::/64")}
	w := &world{networks: []*network{
		{name: "blue", driver: overlayDriver, subnets: overlay},
		{name: "green", driver: overlayDriver, subnets: overlay},
	}}
	for host := 1; host <= hosts; host++ {
		// The last one is internal, so that a sandbox without a way out is seen too.
		w.networks = append(w.networks, &network{name: "lan", driver: bridgeDriver, subnets: local, host: host, internal: host == hosts})
	}
	for _, n := range w.networks {
		for host := 1; host <= hosts; host++ {
			for slot := 1; slot <= slots && (n.host == 0 || n.host == host); slot++ {
				b := &box{network: n, slot: fmt.Sprintf("%d%c", host, 'a'+slot-1), host: host}
				for family, subnet := range n.subnets {
					b.addrs[family] = addrIn(subnet, byte(10*host+slot))
				}
				w.boxes = append(w.boxes, b)
			}
		}
	}
	return w
}

func addrIn(subnet netip.Prefix, last byte) netip.Addr {
	if subnet.Addr().Is4() {
		b := subnet.Addr().As4()
		b[3] = last
		return netip.AddrFrom4(b)
	}
	b := subnet.Addr().As16()
	b[15] = last
	return netip.AddrFrom16(b)
}

// box returns the box of that name.
func (w *world) box(name string) *box {
	for _, b := range w.boxes {
		if b.name() == name {
			return b
		}
	}
	return nil
}

// network returns the first network of that name.
func (w *world) network(name string) *network {
	for _, n := range w.networks {
		if n.name == name {
			return n
		}
	}
	return nil
}

// question is one cell of the matrix in one family: who answers when from asks at an address?
type question struct {
	from *box
	to   netip.Addr
}

// answer is what came back; the zero value stands for silence.
type answer struct {
	who    string     // the responder's name for itself
	source netip.Addr // where the responder saw the question come from
}

func (a answer) String() string {
	if a.who == "" {
		return "nobody"
	}
	return fmt.Sprintf("%s, asked from %s", a.who, a.source)
}

// expected says who must answer: whoever has the address in the asker's own network, the outside unless that network is
// internal, and else nobody. Inside a network nothing translates addresses; outside the host's is seen.
func (w *world) expected(q question) answer {
	family := familyOf(q.to)
	if q.to == w.outside[family] {
		if q.from.network.internal {
			return answer{}
		}
		return answer{who: outsideName, source: w.underlay[q.from.host-1][family]}
	}
	for _, b := range w.boxes {
		if b.network == q.from.network && b.addrs[family] == q.to {
			return answer{who: b.who(), source: q.from.addrs[family]}
		}
	}
	return answer{}
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// questions asks from every box that matches for every target of both families, each once.
func (w *world) questions(match func(*network) bool, outside bool) []question {
	var all []question
	seen := map[question]bool{}
	add := func(q question) {
		if !seen[q] {
			seen[q] = true
			all = append(all, q)
		}
	}
	for _, from := range w.boxes {
		if !match(from.network) {
			continue
		}
		for family := range from.addrs {
			for _, to := range w.boxes {
				if match(to.network) {
					add(question{from, to.addrs[family]})
				}
			}
			if outside {
				add(question{from, w.outside[family]})
			}
		}
	}
	return all
}

func everyNetwork(*network) bool { return true }

func isOverlay(n *network) bool { return n.driver == overlayDriver }
