package ovsvxlan

import (
	"fmt"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// insertBridge makes the bridge with the port of its own name, without which ovs-vswitchd ignores it.
func insertBridge(root string, want wantBridge) []ovsdb.Operation {
	const bridge, port, iface = "bridge", "local_port", "local_interface"
	return []ovsdb.Operation{
		{Op: ovsdb.OperationInsert, Table: interfaceTable, UUIDName: iface, Row: ovsdb.Row{
			"name": want.name, "type": "internal"}},
		{Op: ovsdb.OperationInsert, Table: portTable, UUIDName: port, Row: ovsdb.Row{
			"name": want.name, "interfaces": ovsdb.UUID{GoUUID: iface},
			"external_ids": stringMap(map[string]string{markKey: markBridge})}},
		{Op: ovsdb.OperationInsert, Table: bridgeTable, UUIDName: bridge, Row: ovsdb.Row{
			"name":          want.name,
			"datapath_type": want.datapath,
			"fail_mode":     failMode,
			"protocols":     stringSet(bridgeProtocols),
			"external_ids":  stringMap(want.externalIDs()),
			"other_config":  stringMap(bridgeOtherConfig),
			"ports":         ovsdb.UUID{GoUUID: port},
		}},
		// A row nothing refers to is dropped at the end of the transaction, without an error.
		mutateRoot(root, ovsdb.NewMutation("bridges", ovsdb.MutateOperationInsert, uuidSet(bridge))),
	}
}

func removeBridge(root string, b *bridgeRow) []ovsdb.Operation {
	return []ovsdb.Operation{mutateRoot(root, ovsdb.NewMutation("bridges", ovsdb.MutateOperationDelete, uuidSet(b.UUID)))}
}

func mutateRoot(root string, m *ovsdb.Mutation) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationMutate, Table: rootTable,
		Where:     []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: root})},
		Mutations: []ovsdb.Mutation{*m}}
}

func insertPort(bridge, name string, want wantPort, serial int) []ovsdb.Operation {
	port, iface := fmt.Sprintf("port%d", serial), fmt.Sprintf("interface%d", serial)
	return []ovsdb.Operation{
		{Op: ovsdb.OperationInsert, Table: interfaceTable, UUIDName: iface, Row: ovsdb.Row{
			"name":           name,
			"type":           want.kind,
			"options":        stringMap(want.options),
			"ofport_request": int(want.number),
			"external_ids":   stringMap(want.externalIDs()),
		}},
		{Op: ovsdb.OperationInsert, Table: portTable, UUIDName: port, Row: ovsdb.Row{
			"name":         name,
			"interfaces":   ovsdb.UUID{GoUUID: iface},
			"external_ids": stringMap(map[string]string{markKey: want.mark}),
			"other_config": stringMap(portOtherConfig),
		}},
		mutatePorts(bridge, ovsdb.MutateOperationInsert, port),
	}
}

func removePort(bridge string, port *portRow) []ovsdb.Operation {
	return []ovsdb.Operation{mutatePorts(bridge, ovsdb.MutateOperationDelete, port.UUID)}
}

func mutatePorts(bridge string, how ovsdb.Mutator, uuid string) ovsdb.Operation {
	return ovsdb.Operation{Op: ovsdb.OperationMutate, Table: bridgeTable, Where: byName(bridge),
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("ports", how, uuidSet(uuid))}}
}

func byName(name string) []ovsdb.Condition {
	return []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, name)}
}

func stringMap(m map[string]string) ovsdb.OvsMap {
	out := ovsdb.OvsMap{GoMap: make(map[any]any, len(m))}
	for k, v := range m {
		out.GoMap[k] = v
	}
	return out
}

func stringSet(values []string) ovsdb.OvsSet {
	var out ovsdb.OvsSet
	for _, v := range values {
		out.GoSet = append(out.GoSet, v)
	}
	return out
}

func uuidSet(uuid string) ovsdb.OvsSet {
	return ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: uuid}}}
}
