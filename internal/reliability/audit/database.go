package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/run"
)

// database is what Open vSwitch's database says, at one moment.
type database struct {
	bridges    map[string]bridgeRow
	ports      map[string]portRow
	interfaces map[string]interfaceRow
	holder     map[string]string // the bridge of each port, by the ports' names
}

type (
	bridgeRow struct {
		UUID         ovsUUID `json:"_uuid"`
		Name         string  `json:"name"`
		Ports        ovsSet  `json:"ports"`
		DatapathType string  `json:"datapath_type"`
		FailMode     ovsSet  `json:"fail_mode"`
		Protocols    ovsSet  `json:"protocols"`
		ExternalIDs  ovsMap  `json:"external_ids"`
		OtherConfig  ovsMap  `json:"other_config"`
	}
	portRow struct {
		UUID        ovsUUID `json:"_uuid"`
		Name        string  `json:"name"`
		Interfaces  ovsSet  `json:"interfaces"`
		ExternalIDs ovsMap  `json:"external_ids"`
		OtherConfig ovsMap  `json:"other_config"`
	}
	interfaceRow struct {
		Name          string `json:"name"`
		Type          string `json:"type"`
		Options       ovsMap `json:"options"`
		ExternalIDs   ovsMap `json:"external_ids"`
		OFPort        ovsSet `json:"ofport"`
		OFPortRequest ovsSet `json:"ofport_request"`
		Error         ovsSet `json:"error"`
	}
)

// The values of RFC 7047, section 5.1: a set of one element is that element alone.
type (
	ovsUUID string
	ovsSet  []string
	ovsMap  map[string]string
)

func (u *ovsUUID) UnmarshalJSON(text []byte) error {
	var pair [2]string
	err := json.Unmarshal(text, &pair)
	*u = ovsUUID(pair[1])
	return err
}

func (s *ovsSet) UnmarshalJSON(text []byte) error {
	var set []json.RawMessage
	var kind string
	if json.Unmarshal(text, &set) == nil && len(set) == 2 && json.Unmarshal(set[0], &kind) == nil && kind == "set" {
		var members []json.RawMessage
		if err := json.Unmarshal(set[1], &members); err != nil {
			return err
		}
		for _, m := range members {
			*s = append(*s, atom(m))
		}
		return nil
	}
	*s = ovsSet{atom(text)}
	return nil
}

// atom is a number or a text as it is, and a row's identity without its tag.
func atom(text json.RawMessage) string {
	var u ovsUUID
	if json.Unmarshal(text, &u) == nil {
		return string(u)
	}
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}

func (m *ovsMap) UnmarshalJSON(text []byte) error {
	var tagged []json.RawMessage
	var pairs [][2]string
	err := json.Unmarshal(text, &tagged)
	if err == nil && len(tagged) == 2 {
		err = json.Unmarshal(tagged[1], &pairs)
	}
	*m = ovsMap{}
	for _, p := range pairs {
		(*m)[p[0]] = p[1]
	}
	return err
}

func (s ovsSet) String() string { return strings.Join(s, ",") }

// readDatabase reads the tables in one transaction.
func readDatabase(ctx context.Context, endpoint string) (*database, error) {
	const query = `["Open_vSwitch",` +
		`{"op":"select","table":"Bridge","where":[]},` +
		`{"op":"select","table":"Port","where":[]},` +
		`{"op":"select","table":"Interface","where":[],` +
		`"columns":["name","type","options","external_ids","ofport","ofport_request","error"]}]`
	out, err := run.Output(ctx, nil, "ovsdb-client", "--timeout=20", "transact", endpoint, query)
	if err != nil {
		return nil, fmt.Errorf("read Open vSwitch's database: %w: %w", err, errdefs.ErrUnavailable)
	}
	var tables []struct {
		Rows  json.RawMessage `json:"rows"`
		Error string          `json:"error"`
	}
	if err := json.Unmarshal(out, &tables); err != nil || len(tables) != 3 {
		return nil, fmt.Errorf("read Open vSwitch's database: %d tables: %w: %w", len(tables), err, errdefs.ErrUnsupported)
	}
	var bridges []bridgeRow
	var ports []portRow
	var interfaces []interfaceRow
	for i, rows := range []any{&bridges, &ports, &interfaces} {
		if err := json.Unmarshal(tables[i].Rows, rows); err != nil {
			return nil, fmt.Errorf("read Open vSwitch's database: %w%s: %w", err, tables[i].Error, errdefs.ErrUnsupported)
		}
	}
	db := &database{
		bridges: map[string]bridgeRow{}, ports: map[string]portRow{}, interfaces: map[string]interfaceRow{},
		holder: map[string]string{},
	}
	byUUID := map[string]string{}
	for _, p := range ports {
		db.ports[p.Name], byUUID[string(p.UUID)] = p, p.Name
	}
	for _, i := range interfaces {
		db.interfaces[i.Name] = i
	}
	for _, b := range bridges {
		db.bridges[b.Name] = b
		for _, p := range b.Ports {
			db.holder[byUUID[p]] = b.Name
		}
	}
	return db, nil
}
