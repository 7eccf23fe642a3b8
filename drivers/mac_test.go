package drivers_test

import (
	"encoding/json"
	"errors"
	"net"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

func TestParseMAC(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // empty: ErrInvalid
	}{
		{"02:42:0a:01:00:02", "02:42:0a:01:00:02"},
		{"02-42-0A-01-00-02", "02:42:0a:01:00:02"},
		{"0242.0a01.0002", "02:42:0a:01:00:02"},
		{"", ""},
		{"02:42:0a:01:00", ""},
		{"02:42:0a:01:00:zz", ""},
		{"00:00:00:00:00:00", ""},       // means none
		{"01:00:5e:00:00:01", ""},       // multicast
		{"ff:ff:ff:ff:ff:ff", ""},       // broadcast
		{"02:42:0a:01:00:02:03:04", ""}, // EUI-64
		{"02:42:0a:01:00:02\n", ""},
	} {
		m, err := drivers.ParseMAC(c.in)
		if c.want == "" {
			if !errors.Is(err, drivers.ErrInvalid) || !m.IsZero() {
				t.Errorf("ParseMAC(%q) = %q, %v, want ErrInvalid", c.in, m, err)
			}
			continue
		}
		if err != nil || m.String() != c.want {
			t.Errorf("ParseMAC(%q) = %q, %v, want %q", c.in, m, err, c.want)
		}
	}
}

func TestMACZero(t *testing.T) {
	var zero drivers.MAC
	if zero.String() != "" || zero.HardwareAddr() != nil || !zero.IsZero() {
		t.Errorf("zero MAC is %q, %v", zero, zero.HardwareAddr())
	}
	full := drivers.MAC{2, 0, 0, 0, 0, 1}
	if err := full.UnmarshalText(nil); err != nil || full != zero {
		t.Errorf("no text read as %q, %v, want the zero value", full, err)
	}
	hw := drivers.MAC{2, 0, 0, 0, 0, 1}.HardwareAddr()
	if hw.String() != (net.HardwareAddr{2, 0, 0, 0, 0, 1}).String() {
		t.Errorf("HardwareAddr is %s", hw)
	}
}

// FuzzMACText: whatever can be read is written back equal, within JSON too.
func FuzzMACText(f *testing.F) {
	for _, seed := range []string{"", "02:42:0a:01:00:02", "0242.0a01.0002", "ff:ff:ff:ff:ff:ff", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var m drivers.MAC
		if err := m.UnmarshalText([]byte(text)); err != nil {
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Fatalf("UnmarshalText(%q): %v, want ErrInvalid", text, err)
			}
			return
		}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back drivers.MAC
		if err := json.Unmarshal(raw, &back); err != nil || back != m {
			t.Fatalf("%q read as %s, written as %s, read back as %s, %v", text, m, raw, back, err)
		}
	})
}
