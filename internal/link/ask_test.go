package link

import (
	"bytes"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestAttribute(t *testing.T) {
	outer := nl.NewRtAttr(7|unix.NLA_F_NESTED, nil)
	outer.AddRtAttr(1, []byte("one")) // not a multiple of four
	outer.AddRtAttr(2, []byte("two"))
	message := append(nl.NewRtAttr(5, []byte{1}).Serialize(), outer.Serialize()...)
	for _, c := range []struct {
		path []uint16
		want []byte
	}{
		{[]uint16{5}, []byte{1}},
		{[]uint16{7, 1}, []byte("one")},
		{[]uint16{7, 2}, []byte("two")},
		{[]uint16{7, 3}, nil},
		{[]uint16{6, 1}, nil},
	} {
		if got, err := attribute(message, c.path...); err != nil || !bytes.Equal(got, c.want) || got == nil != (c.want == nil) {
			t.Errorf("attribute %v is %q, %v, want %q", c.path, got, err, c.want)
		}
	}
	for _, broken := range [][]byte{{3, 0, 7, 0}, {9, 0, 7, 0, 1, 2, 3, 4}} {
		if got, err := attribute(broken, 7); err == nil {
			t.Errorf("of % x: %q", broken, got)
		}
	}
	if got, err := attribute(message[:len(message)-1], 5); err == nil {
		t.Errorf("of a message cut short: %q", got)
	}
}
