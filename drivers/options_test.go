package drivers_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

type sampleOptions struct {
	Mode  string `json:"mode,omitempty"`
	Depth int    `json:"depth,omitempty"`
}

func (sampleOptions) DriverName() string { return "sample" }

type badOptions struct{ C chan int }

func (badOptions) DriverName() string { return "bad" }

type pointerOptions struct{}

func (*pointerOptions) DriverName() string { return "pointer" }

func TestDecodeOptions(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		want      sampleOptions
		names     string // not empty: ErrInvalid, and the text contains it
	}{
		{name: "nothing"},
		{name: "empty object", raw: `{}`},
		{name: "all", raw: `{"mode":"l2","depth":3}`, want: sampleOptions{"l2", 3}},
		{name: "space around", raw: " {\"depth\":1}\n", want: sampleOptions{Depth: 1}},
		{name: "unknown key", raw: `{"mod":"l2"}`, names: `"mod"`},
		{name: "wrong type", raw: `{"depth":"deep"}`, names: "depth"},
		{name: "array", raw: `[]`, names: "sample"},
		{name: "data after", raw: `{} {}`, names: "after the object"},
		{name: "cut short", raw: `{"mode":`, names: "sample"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := drivers.DecodeOptions[sampleOptions](json.RawMessage(c.raw))
			if c.names != "" {
				if !errors.Is(err, drivers.ErrInvalid) || !strings.Contains(err.Error(), c.names) {
					t.Fatalf("%v, want ErrInvalid naming %q", err, c.names)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestDecodeOptionsWantsStruct(t *testing.T) {
	_, err := drivers.DecodeOptions[*pointerOptions](json.RawMessage(`{}`))
	if !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("options that are a pointer: %v, want ErrInvalid", err)
	}
}

func TestEncodeOptions(t *testing.T) {
	raw, err := drivers.EncodeOptions(sampleOptions{Mode: "l2"})
	if err != nil || string(raw) != `{"mode":"l2"}` {
		t.Errorf("%s, %v", raw, err)
	}
	if _, err := drivers.EncodeOptions(badOptions{}); !errors.Is(err, drivers.ErrInvalid) {
		t.Errorf("options that are no JSON: %v, want ErrInvalid", err)
	}
}

// FuzzDecodeOptions: what is accepted survives a round trip; what is refused is ErrInvalid.
func FuzzDecodeOptions(f *testing.F) {
	for _, seed := range []string{``, `{}`, `{"mode":"l2","depth":3}`, `{"mod":1}`, `[]`, `{} {}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := drivers.DecodeOptions[sampleOptions](raw)
		if err != nil {
			if !errors.Is(err, drivers.ErrInvalid) {
				t.Fatalf("%q: %v, want ErrInvalid", raw, err)
			}
			return
		}
		again, err := drivers.EncodeOptions(o)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := drivers.DecodeOptions[sampleOptions](again); err != nil || back != o {
			t.Fatalf("%q read as %+v, written as %s, read back as %+v, %v", raw, o, again, back, err)
		}
	})
}
