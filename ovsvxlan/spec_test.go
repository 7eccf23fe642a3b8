package ovsvxlan_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ovsvxlan"
)

func TestMACText(t *testing.T) {
	for _, text := range []string{`"02:42:0a:01:00:02"`, `""`} {
		var m ovsvxlan.MAC
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if got := string(must(json.Marshal(m))(t)); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
	for _, text := range []string{"02:42", "x", "02:42:0a:01:00:02:03:04"} {
		var m ovsvxlan.MAC
		if err := m.UnmarshalText([]byte(text)); !errors.Is(err, errdefs.ErrInvalid) || !m.IsZero() {
			t.Errorf("%q: %v, %v; want ErrInvalid", text, m, err)
		}
	}
}
