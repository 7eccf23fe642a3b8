package history_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/libcnm/libcnm/store"
)

// records are the contents of a store: objects, and the records that belong to them.
type records struct {
	objects  map[string]object // by token
	nodes    int
	networks int
	// What the objects say must be there, and what is: keys with the ID of their owner.
	want, have map[string]string
}

// object is an endpoint or a network.
type object struct {
	id     string
	name   string
	answer answer // as it would be about the object
}

// record has the fields that must agree with other records, of all kinds of records.
type record struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Network  string            `json:"network"`
	VNI      uint32            `json:"vni"`
	MAC      string            `json:"mac"`
	Addrs    []netip.Prefix    `json:"addrs"`
	Aliases  []string          `json:"aliases"`
	Endpoint string            `json:"endpoint"`
	Labels   map[string]string `json:"labels"`
	Subnets  []struct {
		Prefix netip.Prefix `json:"prefix"`
	} `json:"subnets"`
}

func readRecords(list []store.Record) (*records, error) {
	recs := &records{objects: map[string]object{}, want: map[string]string{}, have: map[string]string{}}
	for _, raw := range list {
		if raw.Key == "subnets" {
			if err := recs.readSubnets(raw); err != nil {
				return nil, err
			}
			continue
		}
		var r record
		if err := json.Unmarshal(raw.Value, &r); err != nil {
			return nil, fmt.Errorf("record %s: %w", raw.Key, err)
		}
		switch dir, _, _ := strings.Cut(raw.Key, "/"); dir {
		case "networks":
			recs.network(&r)
		case "endpoints":
			recs.endpoint(&r)
		case "claims":
			if r.Endpoint != "" { // else freed
				recs.have[raw.Key] = r.Endpoint
			}
		case "nodes":
			recs.nodes++
		default:
			recs.have[raw.Key] = r.ID
		}
	}
	return recs, nil
}

func (recs *records) readSubnets(raw store.Record) error {
	var all struct {
		Networks []struct {
			ID      string         `json:"id"`
			Subnets []netip.Prefix `json:"subnets"`
		} `json:"networks"`
	}
	if err := json.Unmarshal(raw.Value, &all); err != nil {
		return fmt.Errorf("record %s: %w", raw.Key, err)
	}
	for _, n := range all.Networks {
		for _, s := range n.Subnets {
			recs.have[fmt.Sprintf("subnets of %s: %s", n.ID, s)] = n.ID
		}
	}
	return nil
}

func (recs *records) network(r *record) {
	recs.networks++
	recs.want["network-names/"+r.Name] = r.ID
	recs.want[fmt.Sprintf("vnis/%d", r.VNI)] = r.ID
	recs.have["network of endpoints "+r.ID] = ""
	o := answer{VNI: r.VNI}
	for _, s := range r.Subnets {
		recs.want[fmt.Sprintf("subnets of %s: %s", r.ID, s.Prefix)] = r.ID
		o.Subnets = append(o.Subnets, s.Prefix)
	}
	recs.objects[r.Labels["token"]] = object{id: r.ID, name: r.Name, answer: o}
}

func (recs *records) endpoint(r *record) {
	recs.want["network of endpoints "+r.Network] = ""
	recs.want[path.Join("endpoint-names", r.Network, r.Name)] = r.ID
	recs.want[path.Join("macs", r.Network, r.MAC)] = r.ID
	o := object{id: r.ID, name: r.Name, answer: answer{MAC: r.MAC}}
	for _, a := range r.Addrs {
		recs.want[path.Join("claims", r.Network, a.Addr().String())] = r.ID
		o.answer.Addrs = append(o.answer.Addrs, a.Addr())
	}
	recs.objects[strings.Join(r.Aliases, " ")] = o
}

// disagreements are the differences between what the objects say and what is there.
func (recs *records) disagreements() []string {
	have := maps.Clone(recs.have)
	maps.DeleteFunc(have, func(key, _ string) bool { // not each network has endpoints
		_, ok := recs.want[key]
		return strings.HasPrefix(key, "network of endpoints ") && !ok
	})
	if diff := cmp.Diff(recs.want, have); diff != "" {
		return []string{"records do not agree (-objects +what belongs to them):\n" + diff}
	}
	return nil
}

// left are the objects that are there although only so many networks should be.
func (recs *records) left(networks int) []string {
	if recs.networks == networks && len(recs.objects) == networks {
		return nil
	}
	return []string{fmt.Sprintf("left in the store: %v", slices.Sorted(maps.Keys(recs.objects)))}
}
