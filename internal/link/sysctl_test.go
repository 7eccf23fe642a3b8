package link

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func TestSysctlActsOnTheHandlesNamespace(t *testing.T) {
	_, inside := sandbox(t)
	_, other := sandbox(t)
	must(t, inside.SetSysctl(t.Context(), "net.ipv4.ip_forward", "1"))
	for want, h := range map[string]*Handle{"1": inside, "0": other} {
		if got, err := h.Sysctl(t.Context(), "net.ipv4.ip_forward"); err != nil || got != want {
			t.Errorf("ip_forward = %q, %v, want %s", got, err, want)
		}
	}
	plain(t, inside, "eth0.7", "x")
	for _, key := range []string{"net.ipv4.conf.eth0/7.rp_filter", "net/ipv4/conf/eth0.7/rp_filter"} {
		must(t, inside.SetSysctl(t.Context(), key, "2"))
		if got, err := inside.Sysctl(t.Context(), key); err != nil || got != "2" {
			t.Errorf("%s = %q, %v", key, got, err)
		}
	}
	if err := inside.SetSysctl(t.Context(), "net.ipv4.no_such_thing", "1"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("unknown key: %v, want ErrNotFound", err)
	}
	if err := inside.SetSysctl(t.Context(), "net.ipv4.ip_forward", "maybe"); !errors.Is(err, errdefs.ErrInvalid) {
		t.Errorf("bad value: %v, want ErrInvalid", err)
	}
}

func FuzzSysctlPath(f *testing.F) {
	for _, key := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/a.b/x", "net.ipv4.conf.a/b.x", "net/../kernel/x", "net", "net..", "kernel.x", "net.\x00"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		path, err := sysctlPath(key)
		if err != nil {
			if !errors.Is(err, errdefs.ErrInvalid) {
				t.Errorf("%q: %v, want ErrInvalid", key, err)
			}
			return
		}
		if filepath.Clean(path) != path || !strings.HasPrefix(path, "/proc/sys/net/") {
			t.Errorf("%q leads to %q", key, path)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"eth0", "x%d", "eth+", "a b", "", ".", "..", "-x", "cnmv0123456789a", "sixteen-letters-"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName(name)
		if err != nil {
			if !errors.Is(err, errdefs.ErrInvalid) {
				t.Errorf("%q: %v, want ErrInvalid", name, err)
			}
			return
		}
		if len(name) > 15 || strings.ContainsAny(name, "%+/ :\"'\n\x00*") || name == "." || name == ".." {
			t.Errorf("%q passed", name)
		}
	})
}

func TestOwnerTextRoundTrip(t *testing.T) {
	for _, o := range []Owner{
		{Driver: "bridge", Network: "0a1b"},
		{Driver: "ovs-vxlan", Network: "0a1b", Endpoint: "2c3d"},
		{Driver: "ovs-vxlan", Role: "gateway"},
	} {
		got, ok := ParseOwner(o.String())
		if !ok || got != o {
			t.Errorf("%s: %+v, %v, want %+v", o, got, ok, o)
		}
		if !strings.HasPrefix(o.String(), DriverMark(o.Driver)) || groupOf(o.String()) == 0 || groupOf(o.String()) != groupOf(DriverMark(o.Driver)) {
			t.Errorf("%s: driver mark or group does not fit", o)
		}
	}
	for _, alias := range []string{"", "libcnm:", "libcnm:bridge", "libcnm:bridge:", "libcnm:bridge:network:", "libcnm::network:x",
		"libcnm:bridge:endpoint:x", "libcnm:bridge:endpoint:/", "libcnm:bridge:thing:x", "bridge:network:x"} {
		if o, ok := ParseOwner(alias); ok {
			t.Errorf("%q was read as %+v", alias, o)
		}
	}
	if groupOf(DriverMark("a")) == groupOf(DriverMark("b")) || groupOf("eth0") != 0 || groupOf("libcnm:") != 0 {
		t.Error("groups do not tell drivers apart")
	}
}

func TestHashName(t *testing.T) {
	a, b := HashName("cnmv", 11, "ab", "c"), HashName("cnmv", 11, "a", "bc")
	if len(a) != 15 || a == b || a != HashName("cnmv", 11, "ab", "c") {
		t.Errorf("%s, %s", a, b)
	}
	must(t, CheckName(a))
}

func TestErrorsCarryErrnoAndClass(t *testing.T) {
	_, inside := sandbox(t)
	_, err := inside.Link(t.Context(), "eth0")
	if want := "find interface eth0: no such interface"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	must(t, inside.Close())
	if _, err := inside.Link(t.Context(), "lo"); !errors.Is(err, errdefs.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	if err := inside.SetSysctl(t.Context(), "net.ipv4.ip_forward", "1"); !errors.Is(err, errdefs.ErrClosed) {
		t.Errorf("sysctl after Close: %v, want ErrClosed", err)
	}
	if _, err := inside.Watch(t.Context()); !errors.Is(err, errdefs.ErrClosed) {
		t.Errorf("watch after Close: %v, want ErrClosed", err)
	}
	if err := opError("open", "x", os.ErrNotExist); !errors.Is(err, errdefs.ErrNotFound) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v: want both the cause and its class", err)
	}
	if opError("open", "x", nil) != nil {
		t.Error("an error from none")
	}
}
