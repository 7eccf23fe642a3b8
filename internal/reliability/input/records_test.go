package input

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store/etcd"
)

const (
	evilID    = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
	evilOther = "dddddddddddddddddddddddddddddddd"
)

// planted is a record that somebody else wrote to etcd.
type planted struct{ key, value string }

// hostile returns records of every kind, for a world whose network, sandbox and endpoint have these IDs. They are wrong in
// form or in sense, and each aims at something: a path, a rule, a flow, another's object, or at keeping others out.
func hostile(network, sandbox, endpoint string) []planted {
	replace := strings.NewReplacer("NET", network, "SB", sandbox, "EP", endpoint, "EVIL", evilID, "OTHER", evilOther)
	const (
		ep   = `{"v":1,"id":"EVIL","network":"NET","name":"evil","mac":"02:00:00:00:00:66","addrs":["fd01::66/64"]`
		join = `,"join":{"node":"node9","sandbox":"OTHER","slot":0,"interface":"eth0"}}`
		node = `{"v":1,"name":"node9","instance":"EVIL","boot":"b","release":"r","mtu":1500,"vtep":`
	)
	list := []planted{
		{"networks/EVIL", "{"}, {"networks/EVIL", ""}, {"networks/EVIL", "null"}, {"networks/EVIL", `"text"`},
		{"networks/EVIL", `{"v":1,"id":"OTHER","name":"evil","driver":"fakenet","vni":9}`},
		{"networks/EVIL", `{"v":1,"id":"EVIL","name":"../evil","driver":"fakenet","vni":9}`},
		{"networks/EVIL", `{"v":1,"id":"EVIL","name":"evil","driver":"bridge","subnets":[{"prefix":"10.66.0.0/24","gateway":"10.66.0.1"}]}`},
		{"networks/EVIL", `{"v":1,"id":"EVIL","name":"evil","driver":"fakenet","vni":0}`},
		{"networks/EVIL", `{"v":1,"id":"EVIL","name":"evil","driver":"fakenet","vni":16777216}`},
		{"networks/EVIL", `{"v":1,"id":"EVIL","name":"evil","driver":"fakenet","vni":9,"options":{"rule":"-j ACCEPT"}}`},
		{"networks/EVIL", `{"v":1,"id":"EVIL","name":"evil","driver":"fakenet","vni":9,"subnets":[{"prefix":"127.0.0.0/8"}]}`},
		{"networks/EVIL", `{"v":99,"id":"EVIL","name":"evil\n","driver":"fakenet"}`},
		{"networks/EVIL", `{"v":1,"labels":` + strings.Repeat(`{"a":`, 12_000) + strings.Repeat("}", 12_000) + `}`},
		{"networks/EVIL", `{"v":1,"name":"` + strings.Repeat("x", 1<<20) + `"}`},
		{"networks/../../etc/x", `{"v":1}`}, {"networks/a\nb", `{"v":1}`}, {"networks/", `{"v":1}`},
		{"network-names/evil", `{"v":1,"id":"../../x"}`}, {"network-names/evil", `{"v":1,"id":"EVIL"}`},
		{"vnis/0", `{"v":1,"id":"EVIL"}`}, {"vnis/x y", `{}`}, {"unknown/x", "?"}, {"\x00\xff", "?"},

		{"endpoints/NET/EVIL", "{"}, {"endpoints/NET/EVIL", `[]`}, {"endpoints/NET/x/y", `{"v":1}`}, {"endpoints/NET/a\nb", ep + join},
		{"endpoints/NET/EVIL", strings.Replace(ep, `"EVIL"`, `"OTHER"`, 1) + join},
		{"endpoints/NET/EVIL", strings.Replace(ep, "NET", "OTHER", 1) + join},
		{"endpoints/NET/EVIL", strings.Replace(ep, "fd01::66/64", "10.0.0.1/8", 1) + join},
		{"endpoints/NET/EVIL", strings.Replace(ep, "fd01::66/64", "fd01::1/64", 1) + join},
		{"endpoints/NET/EVIL", strings.Replace(ep, "02:00:00:00:00:66", "ff:ff:ff:ff:ff:ff", 1) + join},
		{"endpoints/NET/EVIL", strings.Replace(ep, "02:00:00:00:00:66", "01:00:5e:00:00:01", 1) + join},
		{"endpoints/NET/EVIL", ep + strings.Replace(join, "node9", "../node1", 1)},
		{"endpoints/NET/EVIL", ep + strings.Replace(join, "OTHER", "/proc/1/ns/net", 1)},
		{"endpoints/NET/EVIL", ep + strings.Replace(join, `"eth0"`, `"$(reboot)"`, 1)},
		{"endpoints/NET/EVIL", ep + strings.Replace(join, `"eth0"`, `"eth0","sysctls":{"kernel.core_pattern":"x"}`, 1)},
		{"endpoint-names/NET/evil", `{"v":1,"id":"x"}`}, {"macs/NET/zz", `{}`},
		{"claims/NET/fd01::77", "{"}, {"claims/NET/fd01::78", `{"v":1,"endpoint":"../x"}`}, {"claims/NET/garbage", `{"v":1}`},
		{"claims/NET/fd01:0::79", `{"v":1}`}, {"claims/NET/fd01::7a%$(id)", `{"v":1}`}, {"claims/OTHER/fd01::1", "?"},

		{"members/node1/NET/EVIL", `{"v":1,"id":"EVIL"}`}, {"members/node1/x", "?"}, {"members/node1/a b/c", "?"},
		{"members/node1/NET/EVIL/x", "?"}, {"members/node1/../../x", "?"}, {"members/node1/EVIL/OTHER", `{"v":1}`},

		{"nodes/node9", "{"}, {"nodes/a\nb", "{}"}, {"nodes/node8", node + `"192.0.2.9"}`}, {"nodes/", "{}"},
	}
	for _, vtep := range []string{"0.0.0.0", "127.0.0.1", "::1", "239.0.0.1", "255.255.255.255", "fe80::1%\\n", "::ffff:192.0.2.9"} {
		list = append(list, planted{"nodes/node9", node + `"` + vtep + `"}`})
	}
	for i, p := range list {
		list[i] = planted{replace.Replace(p.key), replace.Replace(p.value)}
	}
	return list
}

// TestRecordsOfAnAttacker: whoever can write to etcd can make records, and each is there while a controller lives, while
// another starts, and when it is taken away. Everybody else's objects stay and work; nothing of it reaches the host.
func TestRecordsOfAnAttacker(t *testing.T) {
	cluster := testutil.StartEtcd(t, testutil.EtcdOptions{})
	client := cluster.Client(t)
	db, err := etcd.New(t.Context(), cluster.Config())
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	w := newWorldOn(t, filepath.Join(t.TempDir(), "a"), newSpy(db))
	before := w.objects(t)
	list := hostile(w.net.ID(), w.sb.ID(), w.joined.ID())
	share := uint64(report.Pick(3, 1))
	first := seed(t) % share
	for i, p := range list {
		if uint64(i)%share != first {
			continue
		}
		what := fmt.Sprintf("%q: %.80q", p.key, p.value)
		must(t, second(client.Put(t.Context(), "/libcnm/"+p.key, p.value)))
		w.works(t, what, i)
		if i%report.Pick(4, 1) == 0 {
			w.reopen(t)
			w.works(t, what+" at the start", i)
		}
		if got := w.objects(t); got != before {
			t.Errorf("%s changed\n%s\nto\n%s", what, before, got)
		}
		must(t, second(client.Delete(t.Context(), "/libcnm/"+p.key)))
		if t.Failed() {
			break
		}
	}
	// And all at once, which is the worst that can be.
	for _, p := range list {
		must(t, second(client.Put(t.Context(), "/libcnm/"+p.key, p.value)))
	}
	w.reopen(t)
	w.works(t, "all at once", len(list))
	drifts, err := w.c.Check(t.Context())
	must(t, err)
	for _, d := range drifts {
		if !printable(d.Object) || !printable(d.Have) {
			t.Errorf("Check tells %.300q", d)
		}
	}
	must(t, second(client.Delete(t.Context(), "/libcnm/", clientv3.WithRange("/libcnm/\x00\xff0"))))
	strange := w.strangers(t)
	for _, s := range strange {
		t.Errorf("libcnm would not have written %s", s)
	}
	report.Add(t, report.Figures{Inputs: len(list), Leaks: len(strange)})
}

// works uses every kind of object.
func (w *world) works(t *testing.T, what string, serial int) {
	t.Helper()
	ctx, name := t.Context(), fmt.Sprint("round", serial)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Errorf("with %s: %v", what, err)
		}
	}
	nodes, err := w.c.Nodes(ctx)
	ok(err)
	for _, n := range nodes {
		if !nameForm.MatchString(n.Name) {
			t.Errorf("with %s: node %q", what, n.Name)
		}
	}
	networks, err := w.c.Networks(ctx)
	ok(err)
	if !slices.ContainsFunc(networks, func(n *libcnm.Network) bool { return n.Name() == taken }) {
		t.Errorf("with %s: the network is not listed", what)
	}
	n, err := w.c.NetworkByName(ctx, taken)
	ok(err)
	if err != nil {
		return
	}
	eps, err := n.Endpoints(ctx)
	ok(err)
	if len(eps) == 0 {
		t.Errorf("with %s: the endpoint is not listed", what)
	}
	ep, err := n.CreateEndpoint(ctx, name)
	ok(err)
	if err != nil {
		return
	}
	sb, err := w.c.SandboxByContainer(taken)
	ok(err)
	ok(ep.Join(ctx, sb))
	ok(ep.Leave(ctx, sb))
	ok(ep.Delete(ctx))
	second, err := w.c.NewNetwork(ctx, "fakenet", name)
	ok(err)
	if err == nil {
		ok(second.Delete(ctx))
	}
	ok(w.c.Reconcile(ctx))
}
