package ovsvxlan

import (
	"io"
	"strconv"
)

// Bundle returns the changes as text for ovs-ofctl -O OpenFlow15 bundle, which commits all of them or none. Groups come
// before the flows that use them and go after; what is added comes before what is deleted. Applying it twice is harmless.
//
// The text is made while it is read, because for 10,000 peers it is megabytes. The reader is for one goroutine.
func (d Delta) Bundle() io.Reader { return &bundle{of: d} }

// bundle reads the lines of a delta's bundle.
type bundle struct {
	of   Delta
	next int    // the change that is looked at next: each twice, for what is added and for what is deleted
	line []byte // its memory is used again
	rest []byte // of line, what is not read yet
}

// Read implements io.Reader.
func (b *bundle) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(b.rest) == 0 {
			if b.next == 2*b.of.Len() {
				return n, io.EOF
			}
			b.line = b.of.appendLine(b.line[:0], b.next)
			b.rest = b.line
			b.next++
		}
		copied := copy(p[n:], b.rest)
		b.rest = b.rest[copied:]
		n += copied
	}
	return n, nil
}

// appendLine writes line i, or nothing: groups and flows to add, then flows and groups to delete.
func (d Delta) appendLine(b []byte, i int) []byte {
	groups, flows := len(d.groups), len(d.flows)
	switch {
	case i < groups:
		if g := d.groups[i].want; g != nil {
			b = append(b, "group add_or_mod "...)
			b = append(g.append(b), '\n')
		}
	case i < groups+flows:
		if f := d.flows[i-groups].want; f != nil {
			b = append(b, "flow add "...)
			b = append(f.append(b), '\n')
		}
	case i < groups+2*flows:
		if c := d.flows[i-groups-flows]; c.want == nil {
			b = append(b, "flow delete_strict "...)
			b = append(c.have.appendKey(b), '\n')
		}
	default:
		if c := d.groups[i-groups-2*flows]; c.want == nil {
			b = append(b, "group delete group_id="...)
			b = append(strconv.AppendUint(b, uint64(c.have.ID), 10), '\n')
		}
	}
	return b
}
