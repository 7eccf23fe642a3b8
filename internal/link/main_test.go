package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// noTest is for code that a test calls at a distance.
var noTest = context.Background()

// owner is the mark of the tests' links.
var owner = Owner{Driver: "test", Network: "n1"}

func mark(id string) string { return Owner{Driver: "test", Network: "n1", Endpoint: id}.String() }

// sandbox makes a namespace with CreateNS and opens it both ways.
func sandbox(t testing.TB) (*NS, *Handle) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ns")
	if err := CreateNS(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNS(path); err != nil {
			t.Error(err)
		}
	})
	ns, err := OpenNS(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns, open(t, ns)
}

func open(t testing.TB, ns *NS) *Handle {
	t.Helper()
	h, err := Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustLink(t testing.TB, h *Handle, name string) Link {
	t.Helper()
	l, err := h.Link(t.Context(), name)
	must(t, err)
	return l
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0x42, 0, 0, 0, last} }

// plain makes an unmarked veth pair, as somebody else would.
func plain(t testing.TB, h *Handle, name, peer string) {
	t.Helper()
	v := Veth{Name: name, Peer: VethPeer{Name: peer}}
	must(t, h.use(t.Context(), func(c *conn) error { return c.changes.apply(v.create(0)) }))
}

func deleteAny(t testing.TB, h *Handle, name string) {
	t.Helper()
	must(t, h.use(context.WithoutCancel(t.Context()), func(c *conn) error {
		l, err := c.link(name)
		if err != nil {
			return err
		}
		return c.delete(l)
	}))
}

// rename does what a sandbox's processes may.
func rename(t testing.TB, h *Handle, from, to string) {
	t.Helper()
	must(t, h.use(t.Context(), func(c *conn) error {
		l, err := c.link(from)
		if err != nil {
			return err
		}
		return c.changes.apply(newChange("rename interface", to, unix.RTM_SETLINK, 0, header(l.Index), attrText(unix.IFLA_IFNAME, to)))
	}))
}

func lines(diffs []Difference) string {
	var out string
	for _, d := range diffs {
		out += fmt.Sprintf("%s: want %q, have %q\n", d.Object, d.Want, d.Have)
	}
	return out
}
