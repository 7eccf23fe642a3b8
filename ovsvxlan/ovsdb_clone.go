package ovsvxlan

import (
	"maps"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// libovsdb copies a row whenever it is read or changes, by way of JSON unless the row can do it: for a bridge with 1,000 ports
// that is more work than anything else that is done for a new one.

var (
	_ model.CloneableModel = (*rootRow)(nil)
	_ model.CloneableModel = (*bridgeRow)(nil)
	_ model.CloneableModel = (*portRow)(nil)
	_ model.CloneableModel = (*interfaceRow)(nil)
)

func (r *rootRow) clone() rootRow {
	c := *r
	c.Bridges, c.DatapathTypes = slices.Clone(r.Bridges), slices.Clone(r.DatapathTypes)
	return c
}

func (b *bridgeRow) clone() bridgeRow {
	c := *b
	c.Ports, c.Protocols = slices.Clone(b.Ports), slices.Clone(b.Protocols)
	c.DatapathID, c.FailMode = clonePointer(b.DatapathID), clonePointer(b.FailMode)
	c.ExternalIDs, c.OtherConfig = maps.Clone(b.ExternalIDs), maps.Clone(b.OtherConfig)
	return c
}

func (p *portRow) clone() portRow {
	c := *p
	c.Interfaces = slices.Clone(p.Interfaces)
	c.ExternalIDs, c.OtherConfig = maps.Clone(p.ExternalIDs), maps.Clone(p.OtherConfig)
	return c
}

func (i *interfaceRow) clone() interfaceRow {
	c := *i
	c.Options, c.ExternalIDs = maps.Clone(i.Options), maps.Clone(i.ExternalIDs)
	c.OFPort, c.OFPortRequest, c.Error = clonePointer(i.OFPort), clonePointer(i.OFPortRequest), clonePointer(i.Error)
	return c
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

// CloneModel implements model.CloneableModel.
func (r *rootRow) CloneModel() model.Model { c := r.clone(); return &c }

// CloneModel implements model.CloneableModel.
func (b *bridgeRow) CloneModel() model.Model { c := b.clone(); return &c }

// CloneModel implements model.CloneableModel.
func (p *portRow) CloneModel() model.Model { c := p.clone(); return &c }

// CloneModel implements model.CloneableModel.
func (i *interfaceRow) CloneModel() model.Model { c := i.clone(); return &c }

// CloneModelInto implements model.CloneableModel.
func (r *rootRow) CloneModelInto(m model.Model) { cloneInto(m, r.clone()) }

// CloneModelInto implements model.CloneableModel.
func (b *bridgeRow) CloneModelInto(m model.Model) { cloneInto(m, b.clone()) }

// CloneModelInto implements model.CloneableModel.
func (p *portRow) CloneModelInto(m model.Model) { cloneInto(m, p.clone()) }

// CloneModelInto implements model.CloneableModel.
func (i *interfaceRow) CloneModelInto(m model.Model) { cloneInto(m, i.clone()) }

// cloneInto has nobody to tell of a model that is no T; libovsdb passes rows of one table.
func cloneInto[T any](m model.Model, row T) {
	if into, ok := m.(*T); ok {
		*into = row
	}
}
