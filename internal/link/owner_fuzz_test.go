package link

import "testing"

// FuzzParseOwner: an alias that anybody wrote is nobody's mark, or one that is written as it was read.
func FuzzParseOwner(f *testing.F) {
	for _, alias := range []string{"libcnm:bridge:network:0a", "libcnm:bridge:endpoint:0a/0b", "libcnm:ovs-vxlan:node:gateway", "libcnm::network:x", "libcnm:a:endpoint:/", "", "eth0"} {
		f.Add(alias)
	}
	f.Fuzz(func(t *testing.T, alias string) {
		if o, ok := ParseOwner(alias); ok && o.String() != alias {
			t.Errorf("%q is read as %+v, which is written %q", alias, o, o)
		}
	})
}
