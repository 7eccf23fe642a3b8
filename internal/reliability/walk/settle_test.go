package walk

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// look reads what the living controllers say is true, and the endpoints' addresses. Whose sandboxes a dead one has, only it
// knows: what is there of it is left out.
func (w *walker) look() (facts, map[string]string, error) {
	seen, addrs := facts{}, map[string]string{}
	places := map[string]string{} // of sandboxes, by their IDs
	for _, h := range w.rig.Hosts {
		if w.dead[h.Name] {
			continue
		}
		var list []nodeagent.Sandbox
		if err := h.Call(w.t.Context(), "sandbox.list", nil, &list); err != nil {
			return nil, nil, err
		}
		for _, sb := range list {
			place := h.Name + "/" + sb.Container
			places[path.Base(sb.Key)] = place
			if !strings.HasPrefix(sb.Container, bystander) {
				seen["sandbox "+place] = there
			}
		}
	}
	for _, h := range w.rig.Hosts {
		if w.dead[h.Name] {
			continue
		}
		var list []nodeagent.NetworkContent
		if err := h.Call(w.t.Context(), "network.list", nil, &list); err != nil {
			return nil, nil, err
		}
		for _, n := range list {
			if n.Name != bystander {
				lookAt(h.Name, n, places, seen, addrs)
			}
		}
	}
	return seen, addrs, nil
}

func lookAt(host string, n nodeagent.NetworkContent, places map[string]string, seen facts, addrs map[string]string) {
	name := n.Name
	if n.Driver == "bridge" {
		name = host + "/" + n.Name
	}
	seen["network "+name] = n.Driver
	for _, ep := range n.Endpoints {
		key := "endpoint " + name + "/" + ep.Name
		addrs[key] = fmt.Sprint(ep.Info.Addresses)
		seen[key] = free
		if ep.Info.Sandbox == "" {
			continue
		}
		if seen[key] = places[ep.Info.Sandbox]; seen[key] == "" {
			seen[key] = ep.Info.Node + "/" // of a dead host
		}
	}
}

// resolve finds out what calls without an answer have done: all or nothing of each thing they change.
func (w *walker) resolve() {
	w.t.Helper()
	if len(w.doubts) == 0 {
		return
	}
	for _, h := range w.rig.Hosts {
		if !w.dead[h.Name] && w.died(h.Name) {
			return // later: it may be the one to ask
		}
	}
	var seen facts
	var addrs map[string]string
	testutil.Eventually(w.t, settle, func() (err error) {
		seen, addrs, err = w.look()
		for _, h := range w.rig.Hosts {
			if !w.dead[h.Name] && w.died(h.Name) {
				return nil // while it was asked
			}
		}
		return err
	})
	for _, key := range slices.Sorted(maps.Keys(w.doubts)) {
		values := w.doubts[key]
		if seen == nil || w.unseen(key, values) {
			continue
		}
		have := seen[key]
		if !slices.Contains(values, have) {
			w.t.Errorf("%s is %q, after a call without an answer that makes one of %q of %q", key, have, values[1:], values[0])
		}
		w.model.apply(facts{key: have})
		if values[0] == "" && addrs[key] != "" {
			w.addrs[key] = addrs[key]
		}
		delete(w.doubts, key)
		w.t.Logf("%s is %q", key, have)
	}
}

// unseen reports whether only a dead controller could say what is true of a key.
func (w *walker) unseen(key string, values []string) bool {
	for host := range w.dead {
		for _, text := range append(strings.Fields(key), values...) {
			if strings.HasPrefix(text, host+"/") {
				return true
			}
		}
	}
	return false
}

// settle lets all controllers live, and compares model, stores and hosts.
func (w *walker) settle() {
	w.t.Helper()
	for _, h := range w.rig.Hosts {
		if !w.dead[h.Name] && w.armed[h.Name] {
			if err := h.Call(w.t.Context(), "arm", 0, nil); err != nil && !w.died(h.Name) {
				w.t.Fatalf("%s: %v", h.Name, err)
			}
			delete(w.armed, h.Name)
		}
	}
	for _, h := range w.rig.Hosts {
		if w.dead[h.Name] {
			w.revive(h)
		}
	}
	w.resolve()
	if len(w.doubts) > 0 {
		w.t.Fatalf("doubts stay: %v", w.doubts)
	}
	err := testutil.Wait(w.t.Context(), settle, func() error {
		seen, addrs, err := w.look()
		if err != nil {
			return err
		}
		maps.DeleteFunc(w.addrs, func(key, _ string) bool { return w.model[key] == "" })
		if diff := cmp.Diff(w.model, seen) + cmp.Diff(w.addrs, addrs); diff != "" {
			return fmt.Errorf("model and controllers differ (-model +controllers):\n%s", diff)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range w.rig.Hosts {
		w.audit(h)
		w.needless(h)
	}
	if !w.t.Failed() {
		w.reach()
	}
	for _, p := range w.pingers { // more unanswered than at the settling before: lost in between, or on its way
		w.t.Logf("%6.2f bystanders: %s", time.Since(w.began).Seconds(), p.Stats())
	}
}

// audit waits until a host has nothing but what the stores say, and counts what stays wrong.
func (w *walker) audit(h *testutil.Host) {
	w.t.Helper()
	var found []audit.Finding
	err := testutil.Wait(w.t.Context(), settle, func() error {
		found = nil
		r := audit.Request{Node: h.Name, Etcd: w.rig.Etcd.Endpoints(), OVSDB: "unix:/run/openvswitch/db.sock"}
		if err := h.Call(w.t.Context(), "audit", r, &found); err != nil {
			return err
		}
		if len(found) > 0 {
			return errors.New("host and records differ")
		}
		return nil
	})
	for _, f := range found {
		w.t.Errorf("%s: %s", h.Name, f)
		if f.Kind == audit.Duplicate {
			w.figures.Duplicates++
		} else {
			w.figures.Leaks++
		}
	}
	if err != nil {
		w.t.Errorf("%s: %v", h.Name, err)
	}
}

// needless looks whether a controller that lives had to repair what it found different from time to time: nobody has damaged
// anything, so a call has left that behind.
func (w *walker) needless(h *testutil.Host) {
	w.t.Helper()
	var stats libcnm.Stats
	rig.Must(w.t, h.Call(w.t.Context(), "stats", nil, &stats))
	if n := stats.ByCause[libcnm.CauseInterval]; n > 0 {
		w.figures.Leaks += int(n)
		w.t.Errorf("%s: calls left %d differences to be repaired, among these and those of the start: %v", h.Name, n, stats.ByObject)
	}
}

// clear removes everything that is left of a walk.
func (w *walker) clear() {
	w.t.Helper()
	do := func(c call) {
		addrs, err := w.call(c)
		w.judge(c, addrs, err)
	}
	for _, key := range w.model.keys(func(key, _ string) bool { return strings.HasPrefix(key, "endpoint ") }) {
		do(call{host: w.hostOf(networkOf(key)), method: "endpoint.delete", network: networkOf(key), endpoint: nameOf(key), force: true})
	}
	for _, key := range w.model.keys(func(key, _ string) bool { return strings.HasPrefix(key, "network ") }) {
		network := strings.TrimPrefix(key, "network ")
		do(call{host: w.hostOf(network), method: "network.delete", network: network})
	}
	for _, key := range w.model.keys(func(key, _ string) bool { return strings.HasPrefix(key, "sandbox ") }) {
		host, box, _ := strings.Cut(strings.TrimPrefix(key, "sandbox "), "/")
		do(call{host: host, method: "sandbox.delete", box: box})
	}
	if len(w.model) > 0 {
		w.t.Errorf("left: %v", w.model)
	}
}

// hostOf is a host that can delete the network.
func (w *walker) hostOf(network string) string {
	if host, _, ok := strings.Cut(network, "/"); ok {
		return host
	}
	return one(w.random, w.rig.Hosts).Name
}

const (
	bystander  = "still"
	maxSilence = 5 * time.Second // between hosts
)

// startBystanders joins endpoints that no call is about, and pings between them all the time: within a host, and from host
// to host.
func (w *walker) startBystanders() {
	w.t.Helper()
	ctx := w.t.Context()
	rig.Must(w.t, w.rig.Hosts[0].Call(ctx, "network.create", nodeagent.Network{Driver: "ovs-vxlan", Name: bystander}, nil))
	from := w.stand(w.rig.Hosts[0], bystander+"0")
	w.pingers = w.ping(from, w.stand(w.rig.Hosts[0], bystander+"1"))
	w.across = w.ping(from, w.stand(w.rig.Hosts[1], bystander+"2"))
}

// stand joins a bystander.
func (w *walker) stand(h *testutil.Host, name string) member {
	w.t.Helper()
	ctx := w.t.Context()
	ep := nodeagent.Endpoint{Network: bystander, Name: name}
	rig.Must(w.t, h.Call(ctx, "endpoint.create", ep, nil))
	var sb nodeagent.Sandbox
	rig.Must(w.t, h.Call(ctx, "sandbox.create", name, &sb))
	rig.Must(w.t, h.Call(ctx, "join", nodeagent.Join{Endpoint: ep, Container: name}, nil))
	m := member{place: h.Name + "/" + name, ns: h.OpenNS(w.t, sb.Key)}
	rig.Must(w.t, m.read(w, h, ep))
	return m
}

func (w *walker) ping(from, to member) (list []*testutil.Pinger) {
	w.t.Helper()
	for _, addr := range to.addrs {
		testutil.Eventually(w.t, settle, func() error {
			_, err := testutil.Ping(w.t.Context(), from.ns, addr)
			return err
		})
		list = append(list, testutil.StartPinger(w.t, from.ns, addr, pingInterval))
	}
	return list
}

// watchBystanders notes when they have to wait longer than before, for whoever looks for the cause.
func (w *walker) watchBystanders() {
	w.t.Helper()
	for _, p := range w.pingers {
		if stats := p.Stats(); stats.Longest > w.silence {
			w.silence = stats.Longest
			w.t.Logf("%6.2f bystanders: %s", time.Since(w.began).Seconds(), stats)
		}
	}
}

// stopBystanders counts what they have lost. From host to host that is not only ours to answer for: an Open vSwitch in user
// space loses packets to tunnels whenever any interface or address of its host changes, with or without libcnm. So these must
// only never be silent for long.
func (w *walker) stopBystanders() {
	w.t.Helper()
	for _, p := range w.pingers {
		// Where an Open vSwitch does not get to run, answers are late, and those to the last pings are not lost.
		testutil.Eventually(w.t, settle, func() error {
			if s := p.Stats(); s.Sent-s.Received > 2 {
				return fmt.Errorf("bystanders: %s", s)
			}
			return nil
		})
		stats := w.stop(p)
		w.figures.Lost += stats.Sent - stats.Received
		w.figures.WorstStall = max(w.figures.WorstStall, stats.Longest)
		if stats.Received != stats.Sent {
			w.t.Errorf("bystanders within a host: %s", stats)
		}
	}
	for _, p := range w.across {
		if stats := w.stop(p); stats.Longest > maxSilence {
			w.t.Errorf("bystanders on two hosts: %s", stats)
		} else {
			w.t.Logf("bystanders on two hosts: %s", stats)
		}
	}
}

func (w *walker) stop(p *testutil.Pinger) testutil.PingStats {
	w.t.Helper()
	stats, err := p.Stop()
	rig.Must(w.t, err)
	w.figures.Probes += stats.Sent
	return stats
}
