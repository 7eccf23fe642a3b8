package libcnm

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

const (
	oneID   = "0123456789abcdef0123456789abcdef"
	otherID = "fedcba9876543210fedcba9876543210"
)

// goodRecords has one record of each kind, by its key.
func goodRecords() map[string]any {
	prefix := netip.MustParsePrefix("10.1.0.0/24")
	return map[string]any{
		keyNetwork(oneID): networkRecord{
			Version: 1, ID: oneID, Name: "web", Driver: "bridge", MTU: 1500, VNI: 7, Labels: map[string]string{"a": "b"},
			Subnets: []subnetRecord{{
				Prefix: prefix, Gateway: netip.MustParseAddr("10.1.0.1"), Range: netip.MustParsePrefix("10.1.0.128/25"),
				Aux: map[string]netip.Addr{"router": netip.MustParseAddr("10.1.0.9")},
			}},
		},
		keyEndpoint(oneID, otherID): endpointRecord{
			Version: 1, ID: otherID, Network: oneID, Name: "a", MAC: drivers.MAC{2, 0, 0, 0, 0, 1}, Aliases: []string{"b"},
			Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.2/24")},
			Join: &joinRecord{
				Node: "node1", Sandbox: oneID, Slot: 1, Interface: "eth1",
				Sysctls: map[string]string{"net.ipv4.conf.IFNAME.rp_filter": "0"},
			},
		},
		keyClaim(oneID, netip.MustParseAddr("10.1.0.2")): claimRecord{Version: 1, Endpoint: otherID},
		keySubnets: subnetsRecord{
			Version: 1, Networks: []subnetsEntry{{Network: oneID, Name: "web", Subnets: []netip.Prefix{prefix}}},
		},
		keyNodeRecord("node1"): nodeRecord{
			Version: 1, Name: "node1", VTEP: netip.MustParseAddr("192.0.2.1"), MTU: 1500, Instance: oneID,
			Boot: "0b0e7dc2-47a5-4aa1-8a44-3a6a9bd3a4c8", Release: "(devel)",
		},
		keyNode: identityRecord{Version: 1, Instance: oneID, Boot: "0b0e7dc2-47a5-4aa1-8a44-3a6a9bd3a4c8"},
		keySandbox(oneID): sandboxRecord{
			Version: 1, ID: oneID, ContainerID: "c1", NetNS: "/run/libcnm/netns/" + oneID, Owned: true, Hostname: "c1",
			Domainname: "example", DNS: DNS{Search: []string{"example"}, Options: []string{"ndots:2"}},
			Hosts: []ExtraHost{{Name: "db", Addr: netip.MustParseAddr("10.1.0.7")}}, Cgroup: "/sys/fs/cgroup/c1",
			Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}, Labels: map[string]string{"a": "b"},
		},
		keyNetworkName("web"):   refRecord{Version: 1, ID: oneID},
		keyUsedDriver("bridge"): refRecord{Version: 1, ID: "bridge"},
	}
}

// FuzzRecords: whatever stands in a store is read or refused, never a panic. The refusal names the key in words that a
// log can carry, and what is accepted is written and read again without a change.
func FuzzRecords(f *testing.F) {
	for key, value := range goodRecords() {
		raw, err := json.Marshal(value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, raw)
	}
	f.Add("networks/a\nb", []byte(`{"v":1,"id":"a\nb"}`))
	f.Add("subnets", []byte(`{"v":1,"networks":[{"id":`+strings.Repeat("[", 20_000)))
	f.Add("node", []byte("\xff{}"))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		raw := store.Record{Key: key, Value: value, Rev: 1}
		fuzzRecord[networkRecord](t, raw)
		fuzzRecord[endpointRecord](t, raw)
		fuzzRecord[claimRecord](t, raw)
		fuzzRecord[subnetsRecord](t, raw)
		fuzzRecord[nodeRecord](t, raw)
		fuzzRecord[identityRecord](t, raw)
		fuzzRecord[sandboxRecord](t, raw)
		fuzzRecord[refRecord](t, raw)
	})
}

func fuzzRecord[T versioned](t *testing.T, raw store.Record) {
	s, err := decode[T](raw)
	if err != nil {
		text := err.Error()
		unprintable := strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
		if !errors.Is(err, ErrInvalid) || !strings.Contains(text, printable(raw.Key)) || len(text) > 600 || unprintable || !utf8.ValidString(text) {
			t.Fatalf("%T: %.1000q, want ErrInvalid that names %q", s, text, raw.Key)
		}
		return
	}
	first, err := encode(raw.Key, s.value)
	if err != nil {
		t.Fatal(err)
	}
	again, err := decode[T](store.Record{Key: raw.Key, Value: first, Rev: 1})
	if err != nil {
		t.Fatalf("%s\nread from %q, is refused: %v", first, raw.Value, err)
	}
	if back, err := encode(raw.Key, again.value); err != nil || string(back) != string(first) {
		t.Fatalf("%s\nbecomes %s, %v", first, back, err)
	}
}

// FuzzCheckName: what passes is of the documented form and stays itself in every place a name goes to.
func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"a", "web-1.example_x", "", "-a", "a b", "a\n", "a/../b", "é", strings.Repeat("a", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := checkName("name", name)
		if err != nil {
			if text := err.Error(); !errors.Is(err, ErrInvalid) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q: %q", name, text)
			}
			return
		}
		if printable(name) != name {
			t.Errorf("%q is printed as %s", name, printable(name))
		}
		for _, key := range []string{keyNetworkName(name), keyEndpointName(oneID, name), keyContainer(name), keyNodeRecord(name), keyMember(name, oneID, otherID)} {
			if err := store.CheckKey(key); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}
