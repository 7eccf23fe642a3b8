package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/rig"
	"github.com/libcnm/libcnm/store"
	"github.com/libcnm/libcnm/store/etcd"
	"github.com/libcnm/libcnm/store/local"
)

// scene is a host with a sandbox in a bridge network (eth0) and in an overlay (eth1) that has a peer on another host. Its
// controllers are closed, so that nobody repairs what a test damages.
type scene struct {
	host    *testutil.Host
	request audit.Request
	cluster store.Store
	local   string            // the file
	names   *strings.Replacer // of objects, as damages call them
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ctx := t.Context()
	r := testutil.NewHosts(t, 2, testutil.HostsOptions{EtcdMembers: 1})
	s := &scene{host: r.Hosts[0], request: audit.Request{Etcd: r.Etcd.Endpoints(), OVSDB: ovsdb}}
	for _, h := range r.Hosts {
		h.Start(t)
		call(t, h, "open", nodeagent.Open{Node: h.Name, Underlay: h.VTEP, Etcd: r.Etcd.Endpoints()}, nil)
	}
	call(t, s.host, "network.create", nodeagent.Network{Driver: "bridge", Name: "web", Subnets: prefixes("10.1.0.0/24", "fd01::/64")}, nil)
	call(t, s.host, "network.create", nodeagent.Network{
		Driver: "ovs-vxlan", Name: "blue", Subnets: prefixes("10.5.0.0/24", "fd05::/64"), MTU: 1300,
	}, nil)
	join(t, s.host, "web", "a", "box1")
	join(t, s.host, "blue", "b", "box1")
	join(t, r.Hosts[1], "blue", "peer", "box2")
	for _, h := range r.Hosts {
		clean(t, h, s.request)
	}
	held := look(t, s.host, audit.Request{Etcd: s.request.Etcd, OVSDB: ovsdb, Closed: true})
	expect(t, held, audit.Stray, "lock /run/libcnm/lock")
	expect(t, held, audit.Stray, "lock /var/lib/libcnm/libcnm.db")

	cluster, err := etcd.New(ctx, r.Etcd.Config())
	rig.Must(t, err)
	t.Cleanup(func() { rig.Must(t, cluster.Close()) })
	s.cluster, s.local = cluster, filepath.Join(s.host.Dir, "lib/libcnm/libcnm.db")
	for _, h := range r.Hosts {
		call(t, h, "close", nil, nil)
		// What nobody keeps alive must not vanish under the test.
		node, err := cluster.Get(ctx, "nodes/"+h.Name)
		rig.Must(t, err)
		_, err = cluster.Commit(ctx, nil, store.Put(node.Key, node.Value))
		rig.Must(t, err)
	}
	s.request.Closed = true
	s.findNames(t)
	clean(t, s.host, s.request)
	return s
}

// findNames reads what the objects are called.
func (s *scene) findNames(t *testing.T) {
	t.Helper()
	ref := func(in store.Store, key string) string {
		raw, err := in.Get(t.Context(), key)
		rig.Must(t, err)
		var r struct{ ID, MAC string }
		rig.Must(t, json.Unmarshal(raw.Value, &r))
		if r.MAC != "" {
			return r.MAC
		}
		return r.ID
	}
	s.withLocal(t, func(st store.Store) {
		web, blue, box := ref(st, "network-names/web"), ref(s.cluster, "network-names/blue"), ref(st, "sandbox-containers/box1")
		a, b := ref(st, "endpoint-names/"+web+"/a"), ref(s.cluster, "endpoint-names/"+blue+"/b")
		s.names = strings.NewReplacer(
			"$WEB", web, "$BLUE", blue, "$BOX", box, "$EPA", a, "$EPB", b,
			"$BRIDGE", link.HashName("cnmb", 10, web), "$VETHA", link.HashName("cnmv", 11, web, a),
			"$VETHB", link.HashName("cnmv", 11, blue, b), "$MACA", ref(st, "endpoints/"+web+"/"+a),
			"$MACB", ref(s.cluster, "endpoints/"+blue+"/"+b),
			"$INSIDE", "nsenter --net=/run/libcnm/netns/"+box,
		)
	})
}

// group is the link group of a driver's links.
func group(driver string) uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "libcnm:%s:", driver)
	return h.Sum32() | 1
}

// withLocal opens the host's local store, which no controller has.
func (s *scene) withLocal(t *testing.T, use func(store.Store)) {
	t.Helper()
	st, err := local.Open(t.Context(), s.local)
	rig.Must(t, err)
	use(st)
	rig.Must(t, st.Close())
}

// run runs a shell script on the host.
func (s *scene) run(t *testing.T, script string) {
	t.Helper()
	s.host.Run(t, "sh", "-ec", s.names.Replace(script))
}

// edit changes one record, or deletes it where edit returns nothing, and returns how to take that back.
func edit(ctx context.Context, st store.Store, key string, change func(string) string) (undo store.Op, err error) {
	undo = store.Delete(key)
	old, err := st.Get(ctx, key)
	if err == nil {
		undo = store.Put(key, old.Value)
	} else if !errors.Is(err, store.ErrNotFound) {
		return undo, err
	}
	op := store.Delete(key)
	if value := change(string(old.Value)); value != "" {
		op = store.Put(key, []byte(value))
	}
	_, err = st.Commit(ctx, nil, op)
	return undo, err
}

// expect fails the test unless there is a finding of that kind about that object.
func expect(t *testing.T, found []audit.Finding, kind audit.Kind, object string) {
	t.Helper()
	var all []string
	for _, f := range found {
		if f.Kind == kind && strings.Contains(f.Object, object) {
			return
		}
		all = append(all, f.String())
	}
	t.Errorf("no %s %s in:\n%s", kind, object, strings.Join(all, "\n"))
}
