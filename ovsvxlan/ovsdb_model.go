package ovsvxlan

import (
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
)

// The rows of the Open_vSwitch database this package reads or writes, with the columns it needs and no more. Every
// column is listed again in monitored: libovsdb subscribes to all columns of the schema when none is named, and then
// drops each update that holds one missing here.

type rootRow struct {
	UUID          string   `ovsdb:"_uuid"`
	Bridges       []string `ovsdb:"bridges"`
	CurCfg        int      `ovsdb:"cur_cfg"`
	NextCfg       int      `ovsdb:"next_cfg"`
	DatapathTypes []string `ovsdb:"datapath_types"`
}

type bridgeRow struct {
	UUID         string            `ovsdb:"_uuid"`
	Name         string            `ovsdb:"name"`
	Ports        []string          `ovsdb:"ports"`
	DatapathType string            `ovsdb:"datapath_type"`
	DatapathID   *string           `ovsdb:"datapath_id"` // set by ovs-vswitchd once the bridge works
	FailMode     *string           `ovsdb:"fail_mode"`
	Protocols    []string          `ovsdb:"protocols"`
	ExternalIDs  map[string]string `ovsdb:"external_ids"`
	OtherConfig  map[string]string `ovsdb:"other_config"`
}

type portRow struct {
	UUID        string            `ovsdb:"_uuid"`
	Name        string            `ovsdb:"name"`
	Interfaces  []string          `ovsdb:"interfaces"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	OtherConfig map[string]string `ovsdb:"other_config"`
}

type interfaceRow struct {
	UUID          string            `ovsdb:"_uuid"`
	Name          string            `ovsdb:"name"`
	Type          string            `ovsdb:"type"`
	Options       map[string]string `ovsdb:"options"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
	OFPort        *int              `ovsdb:"ofport"` // set by ovs-vswitchd; -1: the interface could not be opened
	OFPortRequest *int              `ovsdb:"ofport_request"`
	Error         *string           `ovsdb:"error"` // set by ovs-vswitchd: why
}

const (
	rootTable      = "Open_vSwitch"
	bridgeTable    = "Bridge"
	portTable      = "Port"
	interfaceTable = "Interface"
)

func databaseModel() (model.ClientDBModel, error) {
	return model.NewClientDBModel("Open_vSwitch", map[string]model.Model{
		rootTable:      &rootRow{},
		bridgeTable:    &bridgeRow{},
		portTable:      &portRow{},
		interfaceTable: &interfaceRow{},
	})
}

func monitored() []client.MonitorOption {
	var (
		r rootRow
		b bridgeRow
		p portRow
		i interfaceRow
	)
	return []client.MonitorOption{
		client.WithTable(&r, &r.Bridges, &r.CurCfg, &r.NextCfg, &r.DatapathTypes),
		client.WithTable(&b, &b.Name, &b.Ports, &b.DatapathType, &b.DatapathID, &b.FailMode, &b.Protocols,
			&b.ExternalIDs, &b.OtherConfig),
		client.WithTable(&p, &p.Name, &p.Interfaces, &p.ExternalIDs, &p.OtherConfig),
		client.WithTable(&i, &i.Name, &i.Type, &i.Options, &i.ExternalIDs, &i.OFPort, &i.OFPortRequest, &i.Error),
	}
}
