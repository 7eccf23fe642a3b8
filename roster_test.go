package libcnm

import (
	"maps"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

func TestRosterCountsNodes(t *testing.T) {
	on := func(node string) *endpointRecord { return &endpointRecord{Join: &joinRecord{Node: node}} }
	tests := map[string]struct {
		before, next *endpointRecord // of one endpoint, beside another on node a
		moved        bool
		want         map[string]int
	}{
		"comes, joined nowhere":       {nil, &endpointRecord{}, false, map[string]int{"a": 1}},
		"comes to a node with others": {nil, on("a"), false, map[string]int{"a": 2}},
		"comes to a new node":         {nil, on("b"), true, map[string]int{"a": 1, "b": 1}},
		"joins a new node":            {&endpointRecord{}, on("b"), true, map[string]int{"a": 1, "b": 1}},
		"stays":                       {on("b"), on("b"), false, map[string]int{"a": 1, "b": 1}},
		"leaves its node empty":       {on("b"), &endpointRecord{}, true, map[string]int{"a": 1}},
		"moves and empties its node":  {on("b"), on("a"), true, map[string]int{"a": 2}},
		"moves to a new node":         {on("a"), on("b"), true, map[string]int{"a": 1, "b": 1}},
		"is deleted among others":     {on("a"), nil, false, map[string]int{"a": 1}},
		"is deleted, the last there":  {on("b"), nil, true, map[string]int{"a": 1}},
		"was never there":             {nil, nil, false, map[string]int{"a": 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			const id = drivers.EndpointID("e")
			r := newRoster()
			r.set("other", remote{ep: on("a"), rev: 1})
			r.set(id, remote{ep: tt.before, rev: 2})
			before, moved := r.set(id, remote{ep: tt.next, rev: 3})
			if before.ep != tt.before || moved != tt.moved || !maps.Equal(r.on, tt.want) {
				t.Errorf("before %v, moved %v, nodes %v; want %v, %v, %v", before.ep, moved, r.on, tt.before, tt.moved, tt.want)
			}
			if _, known := r.byID[id]; known != (tt.next != nil) {
				t.Errorf("known is %v", known)
			}
		})
	}
}
