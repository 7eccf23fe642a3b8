package audit_test

import (
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil/rig"
	"github.com/libcnm/libcnm/store"
)

// recordDamage is a change of one record.
type recordDamage struct {
	kind     audit.Kind
	object   string
	local    bool // in the local store
	key      string
	from, to string // from is replaced, the whole value if it is empty; without both the record is deleted
}

var recordDamages = []recordDamage{
	{audit.Missing, "record claims/$BLUE/10.5.0.2", false, "claims/$BLUE/10.5.0.2", "", ""},
	{audit.Missing, "record claims/$WEB/fd01::2", true, "claims/$WEB/fd01::2", "", ""},
	{audit.Wrong, "record claims/$BLUE/10.5.0.2", false, "claims/$BLUE/10.5.0.2", "", `{"v":1,"endpoint":"other"}`},
	{audit.Stray, "record claims/$BLUE/10.5.0.9", false, "claims/$BLUE/10.5.0.9", "", `{"v":1,"endpoint":"$EPB"}`},
	{audit.Stray, "record claims/none/10.5.0.9", false, "claims/none/10.5.0.9", "", `{"v":1}`},
	{audit.Missing, "record endpoint-names/$BLUE/b", false, "endpoint-names/$BLUE/b", "", ""},
	{audit.Stray, "record endpoint-names/$BLUE/c", false, "endpoint-names/$BLUE/c", "", `{"v":1,"id":"$EPB"}`},
	{audit.Missing, "record macs/$BLUE/$MACB", false, "macs/$BLUE/$MACB", "", ""},
	{audit.Missing, "record members/host1/$BLUE/$EPB", false, "members/host1/$BLUE/$EPB", "", ""},
	{audit.Stray, "record members/host1/$BLUE/other", false, "members/host1/$BLUE/other", "", `{"v":1,"id":"other"}`},
	{audit.Stray, "record network-names/lost", false, "network-names/lost", "", `{"v":1,"id":"lost"}`},
	{audit.Missing, "record network-names/web", true, "network-names/web", "", ""},
	{audit.Missing, "record network-names/two", false, "networks/two", "", `{"v":1,"id":"two","name":"two","driver":"null"}`},
	{audit.Stray, "record endpoints/$BLUE/$EPB", false, "networks/$BLUE", "", ""},
	{audit.Stray, "record vnis/16000000", false, "vnis/16000000", "", `{"v":1,"id":"$BLUE"}`},
	{audit.Missing, "record subnets", false, "subnets", "", `{"v":1,"networks":[]}`},
	{audit.Duplicate, "subnet 10.1.0.0/24", true, "subnets", `"networks":[`, `"networks":[{"id":"x","name":"x","subnets":["10.1.0.0/16"]},`},
	{audit.Stray, "record junk/1", false, "junk/1", "", `{"v":1}`},
	{audit.Stray, "record sandboxes/1", false, "sandboxes/1", "", `{"v":1}`}, // not in a cluster
	{audit.Wrong, "record nodes/other", false, "nodes/other", "", `{"name":"other"}`},
	{audit.Duplicate, "record macs/$BLUE/$MACB", false, "endpoints/$BLUE/twin", "", `{"v":1,"id":"twin","network":"$BLUE","name":"twin","mac":"$MACB"}`},
	{audit.Duplicate, "record claims/$BLUE/10.5.0.2", false, "endpoints/$BLUE/twin", "", `{"v":1,"id":"twin","network":"$BLUE","name":"twin","addrs":["10.5.0.2/24"]}`},
	{audit.Wrong, "record endpoints/$BLUE/$EPB", false, "endpoints/$BLUE/$EPB", `"sandbox":"$BOX"`, `"sandbox":"other"`},
	{audit.Wrong, "record endpoints/$BLUE/$EPB", false, "endpoints/$BLUE/$EPB", "", "junk"},
	{audit.Missing, "record sandbox-containers/box1", true, "sandbox-containers/box1", "", ""},
	{audit.Stray, "mount /run/libcnm/netns/$BOX", true, "sandboxes/$BOX", "", ""},
	{audit.Stray, "file /run/libcnm/sandboxes/$BOX", true, "sandboxes/$BOX", "", ""},
	{audit.Missing, "record drivers/bridge", true, "drivers/bridge", "", ""},
	{audit.Stray, "link $BRIDGE", true, "networks/$WEB", "", ""},
	{audit.Duplicate, "interface eth0 of sandbox $BOX", false, "endpoints/$BLUE/$EPB", `"interface":"eth1"`, `"interface":"eth0"`},
}

// damageRecords changes one record after the other, and looks.
func (s *scene) damageRecords(t *testing.T) {
	t.Helper()
	for _, d := range recordDamages {
		from, to := s.names.Replace(d.from), s.names.Replace(d.to)
		within := func(use func(store.Store)) { use(s.cluster) }
		if d.local {
			within = func(use func(store.Store)) { s.withLocal(t, use) }
		}
		var undo store.Op
		within(func(st store.Store) {
			var err error
			undo, err = edit(t.Context(), st, s.names.Replace(d.key), func(old string) string {
				if from != "" {
					return strings.Replace(old, from, to, 1)
				}
				return to
			})
			rig.Must(t, err)
		})
		expect(t, look(t, s.host, s.request), d.kind, s.names.Replace(d.object))
		if t.Failed() {
			t.Fatalf("after a change of record %s", d.key)
		}
		within(func(st store.Store) {
			_, err := st.Commit(t.Context(), nil, undo)
			rig.Must(t, err)
		})
	}
}
