package walk

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

const pingInterval = 50 * time.Millisecond

// member is a joined endpoint.
type member struct {
	key, network, place string
	ns                  *testutil.NS
	addrs               []netip.Addr
}

// read asks for the endpoint's addresses.
func (m *member) read(w *walker, h *testutil.Host, ep nodeagent.Endpoint) error {
	var info struct{ Addresses []netip.Prefix }
	if err := h.Call(w.t.Context(), "endpoint.info", ep, &info); err != nil {
		return err
	}
	for _, p := range info.Addresses {
		m.addrs = append(m.addrs, p.Addr())
	}
	return nil
}

// members are the joined endpoints of the model.
func (w *walker) members() []member {
	w.t.Helper()
	namespaces := map[string]*testutil.NS{}
	var list []member
	for _, key := range w.model.keys(func(key, value string) bool { return strings.HasPrefix(key, "endpoint ") && value != free }) {
		m := member{key: key, network: networkOf(key), place: w.model[key]}
		host, box, _ := strings.Cut(m.place, "/")
		h := w.host(host)
		if namespaces[m.place] == nil {
			namespaces[m.place] = w.namespace(h, box)
		}
		m.ns = namespaces[m.place]
		if err := m.read(w, h, nodeagent.Endpoint{Network: plain(m.network), Name: nameOf(key)}); err != nil {
			w.t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func (w *walker) namespace(h *testutil.Host, box string) *testutil.NS {
	w.t.Helper()
	var list []nodeagent.Sandbox
	if err := h.Call(w.t.Context(), "sandbox.list", nil, &list); err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(sb nodeagent.Sandbox) bool { return sb.Container == box })
	return h.OpenNS(w.t, list[i].Key)
}

// reach looks whether a few endpoints reach each other, within one network, and that a few others do not.
func (w *walker) reach() {
	w.t.Helper()
	const pairs = 6
	all := w.members()
	if len(all) < 2 {
		return
	}
	joined := map[string]bool{} // sandboxes in networks
	for _, m := range all {
		joined[m.place+" "+m.network] = true
	}
	type pair struct{ from, to member }
	seen := map[string]bool{}
	var friends, strangers []pair
	for range 20 * pairs {
		p := pair{one(w.random, all), one(w.random, all)}
		id := p.from.place + " " + p.to.key
		if seen[id] || p.from.place == p.to.place {
			continue
		}
		seen[id] = true
		switch {
		case joined[p.from.place+" "+p.to.network] && p.from.network == p.to.network:
			friends = append(friends, p)
		case !joined[p.from.place+" "+p.to.network] && !w.namesake(joined, p.from, p.to):
			strangers = append(strangers, p)
		}
	}
	var group sync.WaitGroup
	var mu sync.Mutex // guards the figures
	for _, p := range friends[:min(len(friends), pairs)] {
		group.Go(func() {
			for _, addr := range p.to.addrs {
				err := testutil.Wait(w.t.Context(), settle, func() error {
					_, err := testutil.Ping(w.t.Context(), p.from.ns, addr)
					return err
				})
				if err != nil {
					w.t.Errorf("%s does not reach %s: %v", p.from.place, p.to.key, err)
				}
			}
		})
	}
	for _, p := range strangers[:min(len(strangers), pairs)] {
		for _, addr := range p.to.addrs {
			group.Go(func() {
				if _, err := testutil.Ping(w.t.Context(), p.from.ns, addr); err == nil {
					mu.Lock()
					w.figures.Crossed++
					mu.Unlock()
					w.t.Errorf("%s in %s reaches %s", p.from.place, p.from.network, p.to.key)
				}
			})
		}
	}
	group.Wait()
	w.figures.Probes += 2 * (min(len(friends), pairs) + min(len(strangers), pairs))
	w.t.Logf("%6.2f %d joined, %d pairs that reach each other, %d that do not", time.Since(w.began).Seconds(), len(all), len(friends), len(strangers))
}

// namesake reports whether the sandbox of from is in a network of another host that has to's addresses too: bridge networks
// of several hosts are called the same.
func (w *walker) namesake(joined map[string]bool, from, to member) bool {
	for _, h := range w.rig.Hosts {
		if joined[from.place+" "+h.Name+"/"+plain(to.network)] {
			return true
		}
	}
	return false
}
