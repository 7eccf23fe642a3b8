package link

import "strconv"

// Difference is one thing that is not as wanted.
type Difference struct {
	Object string // "link cnmv0123456789a", "link eth0 mtu", "address 10.1.0.2/24 on eth0"
	Want   string // empty: should not exist
	Have   string // empty: does not exist
}

// differences collects what differs.
type differences []Difference

func (d *differences) add(object, want, have string) {
	*d = append(*d, Difference{Object: object, Want: want, Have: have})
}

func (d *differences) text(object, want, have string) {
	if want != have {
		d.add(object, want, have)
	}
}

func (d *differences) number(object string, want, have int) {
	d.text(object, strconv.Itoa(want), strconv.Itoa(have))
}

func (d *differences) state(object string, wantUp, haveUp bool) {
	d.text(object, upDown(wantUp), upDown(haveUp))
}

func upDown(up bool) string {
	if up {
		return "up"
	}
	return "down"
}
