package walk

import (
	"math/rand/v2"
	"net/netip"
	"strings"
)

// The names that calls are about: few, so that they meet.
var (
	overlayNames  = []string{"blue", "green", "tight"}
	bridgeNames   = []string{"web", "db"}
	endpointNames = []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	boxNames      = []string{"box1", "box2", "box3"}
)

// subnets are each network's own, so that a packet's destination says where it should arrive.
var subnets = map[string][]netip.Prefix{
	"blue":  {netip.MustParsePrefix("10.5.0.0/24"), netip.MustParsePrefix("fd05::/64")},
	"green": {netip.MustParsePrefix("10.6.0.0/28"), netip.MustParsePrefix("fd06::/64")},
	"tight": {netip.MustParsePrefix("10.7.0.0/29"), netip.MustParsePrefix("fd07::/64")},
	"web":   {netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("fd01::/64")},
	"db":    {netip.MustParsePrefix("10.2.0.0/24"), netip.MustParsePrefix("fd02::/64")},
}

// capacity is how many endpoints fit into a network.
func capacity(network string) int {
	if network == "tight" {
		return 5 // 8 less network, broadcast and gateway
	}
	return 1 << 16
}

// limited reports whether the network can be full.
func limited(network string) bool { return capacity(network) < len(endpointNames) }

// plain is a network's name without its host's.
func plain(network string) string {
	_, name, ok := strings.Cut(network, "/")
	if !ok {
		return network
	}
	return name
}

var weights = []struct {
	method string
	weight int
}{
	{"network.create", 8}, {"network.delete", 3}, {"endpoint.create", 20}, {"endpoint.delete", 5}, {"sandbox.create", 10},
	{"sandbox.delete", 3}, {"join", 40}, {"leave", 6}, {"reconcile", 2}, {"reopen", 2},
}

func one[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// choose makes up a call.
func choose(r *rand.Rand, m facts, hosts []string) call {
	c := call{host: one(r, hosts), method: method(r)}
	switch c.method {
	case "reconcile", "reopen":
		return c
	case "sandbox.create", "sandbox.delete":
		c.box = one(r, boxNames)
		return c
	}
	c.network = one(r, overlayNames)
	if r.IntN(3) == 0 {
		c.network = c.host + "/" + one(r, bridgeNames)
	}
	switch c.method {
	case "network.create", "network.delete":
		return c
	case "endpoint.create":
		if r.IntN(4) == 0 {
			raw := subnets[plain(c.network)][0].Addr().As4()
			raw[3] = byte(2 + r.IntN(5))
			c.addr = netip.AddrFrom4(raw).String()
		}
	case "endpoint.delete":
		c.force = r.IntN(2) == 0
	case "join":
		return chooseJoin(r, m, c)
	case "leave":
		return chooseLeave(r, m, c)
	}
	c.endpoint = one(r, endpointNames)
	return c
}

func method(r *rand.Rand) string {
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	n := r.IntN(total)
	for _, w := range weights {
		if n -= w.weight; n < 0 {
			return w.method
		}
	}
	return "reconcile"
}

// chooseJoin prefers what exists, and never puts two endpoints of a network into one sandbox: which of two interfaces in one
// subnet answers is Linux's affair.
func chooseJoin(r *rand.Rand, m facts, c call) call {
	c.endpoint, c.box = one(r, endpointNames), one(r, boxNames)
	if all := m.endpoints(c.network); len(all) > 0 && r.IntN(4) > 0 {
		c.endpoint = nameOf(one(r, all))
	}
	for _, key := range m.joined(c.place()) {
		if strings.HasPrefix(key, "endpoint "+c.network+"/") {
			c.endpoint = nameOf(key) // once more
		}
	}
	return c
}

func chooseLeave(r *rand.Rand, m facts, c call) call {
	c.endpoint, c.box = one(r, endpointNames), one(r, boxNames)
	if all := m.joined(c.place()); len(all) > 0 && r.IntN(4) > 0 {
		key := one(r, all)
		c.endpoint, c.network = nameOf(key), networkOf(key)
	}
	return c
}

// nameOf and networkOf are the parts of an endpoint's key.
func nameOf(key string) string { return key[strings.LastIndex(key, "/")+1:] }

func networkOf(key string) string {
	return strings.TrimPrefix(key[:strings.LastIndex(key, "/")], "endpoint ")
}

// burst makes up calls that can be made side by side. Keys in frozen are of unknown value, hosts not in alive are dead.
func burst(r *rand.Rand, m facts, alive []string, frozen map[string]bool) []call {
	const width, attempts = 4, 40
	read, written := map[string]bool{}, map[string]bool{}
	var list []call
	for range attempts {
		c := choose(r, m, alive)
		if m.expect(c).class != nil && r.IntN(15) > 0 {
			continue // most calls should do something
		}
		reads, writes := m.uses(c)
		if len(list) == width || clash(writes, read, written, frozen) || clash(reads, written, frozen) {
			continue
		}
		for _, key := range reads {
			read[key] = true
		}
		for _, key := range writes {
			written[key] = true
		}
		list = append(list, c)
	}
	return list
}

func clash(keys []string, taken ...map[string]bool) bool {
	for _, key := range keys {
		for _, t := range taken {
			if t[key] {
				return true
			}
		}
	}
	return false
}
