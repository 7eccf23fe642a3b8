package ovsvxlan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// haveRows is what the database says about the names a plan is for.
type haveRows struct {
	root           string // UUID of the one row of table Open_vSwitch
	systemDatapath bool   // ovs-vswitchd may try to use the kernel's
	bridge         *bridgeRow
	ports          map[string]*portRow
	interfaces     map[string]*interfaceRow
}

// rowDiff is one difference of the rows from what is wanted.
type rowDiff struct {
	object, column, want, have string
}

func (d rowDiff) String() string { return strings.TrimSpace(d.object + " " + d.column) }

// planBridge returns the operations that make the bridge right, and the differences they repair.
func planBridge(have haveRows, want wantBridge) ([]ovsdb.Operation, []rowDiff, error) {
	b := have.bridge
	if b == nil {
		return insertBridge(have.root, want), []rowDiff{{object: "bridge " + want.name, want: want.datapath}}, nil
	}
	if !ours(b.ExternalIDs) {
		return nil, nil, foreign("bridge", want.name)
	}
	object := "bridge " + want.name
	row := ovsdb.Row{}
	var diffs []rowDiff
	differs := func(column, want, have string, value any) {
		if want != have {
			row[column] = value
			diffs = append(diffs, rowDiff{object, column, want, have})
		}
	}
	differs("datapath_type", want.datapath, b.DatapathType, want.datapath)
	differs("fail_mode", failMode, deref(b.FailMode), failMode)
	protocols := slices.Sorted(slices.Values(b.Protocols))
	differs("protocols", strings.Join(bridgeProtocols, ","), strings.Join(protocols, ","), stringSet(bridgeProtocols))
	where := byName(want.name)
	var ops []ovsdb.Operation
	if len(row) > 0 {
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: bridgeTable, Where: where, Row: row})
	}
	mutations, more := planMap(object, "external_ids", b.ExternalIDs, want.externalIDs(), isOurKey)
	mutations2, more2 := planMap(object, "other_config", b.OtherConfig, bridgeOtherConfig, nil)
	if mutations = append(mutations, mutations2...); len(mutations) > 0 {
		ops = append(ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: bridgeTable, Where: where, Mutations: mutations})
	}
	return ops, slices.Concat(diffs, more, more2), nil
}

// planMap makes column hold want. Keys that are not wanted go if owned says they are ours; nil: none is.
func planMap(object, column string, have, want map[string]string, owned func(string) bool) ([]ovsdb.Mutation, []rowDiff) {
	remove, insert := map[string]string{}, map[string]string{}
	var diffs []rowDiff
	for _, k := range slices.Sorted(maps.Keys(have)) {
		v, wanted := want[k]
		if have[k] == v && wanted || !wanted && (owned == nil || !owned(k)) {
			continue
		}
		remove[k] = have[k]
		if !wanted {
			diffs = append(diffs, rowDiff{object, column + ":" + k, "", have[k]})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := have[k]; !ok || v != want[k] {
			insert[k] = want[k]
			diffs = append(diffs, rowDiff{object, column + ":" + k, want[k], v})
		}
	}
	var mutations []ovsdb.Mutation
	if len(remove) > 0 { // an insert does not replace the value of a key that exists
		mutations = append(mutations, *ovsdb.NewMutation(column, ovsdb.MutateOperationDelete, stringMap(remove)))
	}
	if len(insert) > 0 {
		mutations = append(mutations, *ovsdb.NewMutation(column, ovsdb.MutateOperationInsert, stringMap(insert)))
	}
	return mutations, diffs
}

func isOurKey(k string) bool { return k == markKey || strings.HasPrefix(k, markKey+"-") }

// portPlan is what to do about one port.
type portPlan struct {
	diffs []rowDiff
	ops   []ovsdb.Operation
	// first must be committed, and taken up by ovs-vswitchd, before ops: it would see one transaction that removes
	// and adds a name as no change, and go on reading the old device.
	first []ovsdb.Operation
}

// planPort makes the port called name be as wanted; nil: absent. serial makes names unique in the transaction.
func planPort(have haveRows, bridge, name string, want *wantPort, serial int) (portPlan, error) {
	port, iface := have.ports[name], have.interfaces[name]
	object := "port " + name
	attached := port != nil && have.bridge != nil && slices.Contains(have.bridge.Ports, port.UUID)
	switch {
	case want == nil && (port == nil || !ours(port.ExternalIDs) || !attached):
		return portPlan{}, nil // absent, or not ours to remove
	case want == nil:
		return portPlan{
			ops:   removePort(bridge, port),
			diffs: []rowDiff{{object: object, have: port.ExternalIDs[markKey]}},
		}, nil
	case port == nil && iface == nil:
		return portPlan{
			ops:   insertPort(bridge, name, *want, serial),
			diffs: []rowDiff{{object: object, want: want.mark}},
		}, nil
	case port == nil || iface == nil || !ours(port.ExternalIDs) || !attached:
		return portPlan{}, foreign("port", name)
	}
	plan := changePort(name, port, iface, *want)
	for _, d := range plan.diffs {
		if d.column == "external_ids:"+indexKey || d.column == "type" {
			return portPlan{diffs: plan.diffs, first: removePort(bridge, port), ops: insertPort(bridge, name, *want, serial)}, nil
		}
	}
	return plan, nil
}

func changePort(name string, port *portRow, iface *interfaceRow, want wantPort) portPlan {
	object := "port " + name
	row := ovsdb.Row{}
	var plan portPlan
	if iface.Type != want.kind {
		row["type"] = want.kind
		plan.diffs = append(plan.diffs, rowDiff{object, "type", want.kind, iface.Type})
	}
	if number := int(want.number); iface.OFPortRequest == nil || *iface.OFPortRequest != number {
		row["ofport_request"] = number
		plan.diffs = append(plan.diffs, rowDiff{object, "ofport_request", fmt.Sprint(number), number2text(iface.OFPortRequest)})
	}
	if len(row) > 0 {
		plan.ops = append(plan.ops, ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: interfaceTable, Where: byName(name), Row: row})
	}
	all := func(string) bool { return true }
	for _, c := range []struct {
		table, column string
		have, want    map[string]string
		owned         func(string) bool
	}{
		{interfaceTable, "options", iface.Options, want.options, all},
		{interfaceTable, "external_ids", iface.ExternalIDs, want.externalIDs(), isOurKey},
		{portTable, "external_ids", port.ExternalIDs, map[string]string{markKey: want.mark}, isOurKey},
		{portTable, "other_config", port.OtherConfig, portOtherConfig, nil},
	} {
		mutations, diffs := planMap(object, c.column, c.have, c.want, c.owned)
		plan.diffs = append(plan.diffs, diffs...)
		if len(mutations) > 0 {
			plan.ops = append(plan.ops, ovsdb.Operation{Op: ovsdb.OperationMutate, Table: c.table, Where: byName(name), Mutations: mutations})
		}
	}
	return plan
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number2text(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}
