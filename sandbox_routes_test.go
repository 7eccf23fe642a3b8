package libcnm

import "testing"

func TestWhoHasTheDefaultRoute(t *testing.T) {
	endpoint := func(priority, slot int) *attachment {
		return &attachment{ep: &endpointRecord{Join: &joinRecord{Priority: priority, Slot: slot}}}
	}
	for _, c := range []struct {
		a, b *attachment
		want bool
	}{
		{endpoint(0, 0), endpoint(0, 1), true},
		{endpoint(0, 1), endpoint(0, 0), false},
		{endpoint(1, 1), endpoint(0, 0), true},
		{endpoint(-1, 0), endpoint(0, 1), false},
		{nil, endpoint(0, 1), false},
	} {
		if got := c.a.precedes(c.b); got != c.want {
			t.Errorf("%+v precedes %+v: %v", c.a, c.b, got)
		}
	}
}
