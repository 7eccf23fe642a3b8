package libcnm

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/store"
)

// TestRecordsOfOthers: what no call would have written is refused when it is read, whatever kind of record it is in.
func TestRecordsOfOthers(t *testing.T) {
	network, endpoint := keyNetwork(oneID), keyEndpoint(oneID, otherID)
	sandbox, node := keySandbox(oneID), keyNodeRecord("node1")
	type fields map[string]any
	for _, tc := range []struct {
		name, key string
		change    fields // of the good record of that key; "a.b" is a field of a field, nil removes
		says      string
	}{
		{"network under another key", keyNetwork(otherID), fields{"id": oneID}, oneID},
		{"network ID", network, fields{"id": "../../etc"}, "../../etc"},
		{"network name", network, fields{"name": "a\n-j ACCEPT"}, `a\n-j ACCEPT`},
		{"network driver", network, fields{"driver": "../bridge"}, "driver name"},
		{"network MTU", network, fields{"mtu": -1}, "MTU -1"},
		{"network VNI", network, fields{"vni": 1 << 24}, "16777216"},
		{"network VNI below 0", network, fields{"vni": -5}, "number -5"},
		{"network label", network, fields{"labels": fields{"": "x"}}, "label"},
		{"network labels too long", network, fields{"labels": fields{"x": strings.Repeat("y", 1025)}}, "label"},
		{"subnet with host bits", network, fields{"subnets": []fields{{"prefix": "10.1.0.1/24"}}}, "10.1.0.1/24"},
		{"subnet of everything", network, fields{"subnets": []fields{{"prefix": "0.0.0.0/0"}}}, "0.0.0.0/0"},
		{"subnet of loopback", network, fields{"subnets": []fields{{"prefix": "127.0.0.0/24"}}}, "loopback"},
		{"gateway outside", network, fields{"subnets": []fields{{"prefix": "10.1.0.0/24", "gateway": "10.2.0.1"}}}, "10.2.0.1"},
		{"gateway with a zone", network, fields{"subnets": []fields{{"prefix": "fd01::/64", "gateway": "fd01::1%\n-F"}}}, `zone`},
		{"reserved name", network, fields{"subnets": []fields{{"prefix": "10.1.0.0/24", "aux": fields{"a b": "10.1.0.4"}}}}, "a b"},
		{"subnets overlap", network, fields{"subnets": []fields{{"prefix": "10.1.0.0/24"}, {"prefix": "10.1.0.0/16"}}}, "overlap"},
		{"too many subnets", network, fields{"subnets": make([]fields, 17)}, "more than 16"},

		{"endpoint under another key", keyEndpoint(oneID, oneID), fields{"id": otherID, "network": oneID, "name": "a"}, otherID},
		{"endpoint of another network", endpoint, fields{"network": otherID}, otherID},
		{"endpoint ID", endpoint, fields{"id": "x/../y"}, "x/../y"},
		{"endpoint name", endpoint, fields{"name": "$(id)"}, "$(id)"},
		{"endpoint alias", endpoint, fields{"aliases": []string{"a\tb"}}, "alias"},
		{"endpoint MAC", endpoint, fields{"mac": "zz"}, "zz"},
		{"endpoint addresses", endpoint, fields{"addrs": []string{"10.1.0.2"}}, "10.1.0.2"},
		{"too many aliases", endpoint, fields{"aliases": make([]string, 65)}, "64 aliases"},
		{"join without a node", endpoint, fields{"join.node": ""}, "node name is empty"},
		{"join of a path", endpoint, fields{"join.sandbox": "../../../etc"}, "../../../etc"},
		{"join slot", endpoint, fields{"join.slot": -1}, "-1"},
		{"join slot too large", endpoint, fields{"join.slot": 1 << 50}, "1125899906842624"},
		{"join interface", endpoint, fields{"join.interface": "../lo"}, "../lo"},
		{"join interface lo", endpoint, fields{"join.interface": "lo"}, "lo"},
		{"join interface wildcard", endpoint, fields{"join.interface": "x%d"}, "x%d"},
		{"join sysctl of the host", endpoint, fields{"join.sysctls": fields{"kernel.core_pattern": "|/bin/sh"}}, "kernel.core_pattern"},
		{"join sysctl of another interface", endpoint, fields{"join.sysctls": fields{"net.ipv4.ip_forward": "1"}}, "IFNAME"},
		{"join sysctl value", endpoint, fields{"join.sysctls": fields{"net.ipv4.conf.IFNAME.rp_filter": "0\n1"}}, `0\n1`},

		{"claim", keyClaim(oneID, netip.MustParseAddr("10.1.0.2")), fields{"endpoint": "x"}, "endpoint ID x"},
		{"subnets of no network", keySubnets, fields{"networks": []fields{{"id": "x"}}}, "network ID x"},
		{"subnets of a bad prefix", keySubnets, fields{"networks": []fields{{"id": oneID, "name": "a", "subnets": []string{"::/0"}}}}, "::/0"},
		{"subnets with a name for error texts", keySubnets, fields{"networks": []fields{{"id": oneID, "name": "\x1b[2J"}}}, `\x1b[2J`},

		{"node under another name", node, fields{"name": "node2"}, "node2"},
		{"node VTEP 0.0.0.0", node, fields{"vtep": "0.0.0.0"}, "0.0.0.0"},
		{"node VTEP multicast", node, fields{"vtep": "239.1.1.1"}, "239.1.1.1"},
		{"node VTEP loopback", node, fields{"vtep": "::1"}, "::1"},
		{"node VTEP broadcast", node, fields{"vtep": "255.255.255.255"}, "255.255.255.255"},
		{"node VTEP mapped", node, fields{"vtep": "::ffff:192.0.2.1"}, "::ffff:192.0.2.1"},
		{"node VTEP with a zone", node, fields{"vtep": "2001:db8::1%$(id)"}, "$(id)"},
		{"node MTU", node, fields{"mtu": 1 << 40}, "1099511627776"},
		{"node instance", node, fields{"instance": "x"}, "instance x"},
		{"node release", node, fields{"release": strings.Repeat("v", 257)}, "vvv..."},
		{"identity", keyNode, fields{"instance": ""}, `instance ""`},

		{"sandbox under another key", keySandbox(otherID), fields{"id": oneID}, oneID},
		{"sandbox container", sandbox, fields{"container": "a/b"}, "container ID a/b"},
		{"sandbox of another's namespace", sandbox, fields{"netns": "/run/netns/other"}, "/run/netns/other"},
		{"sandbox of a relative namespace", sandbox, fields{"owned": false, "netns": "x"}, "x"},
		{"sandbox of a namespace with a newline", sandbox, fields{"owned": false, "netns": "/x\ny"}, `/x\ny`},
		{"sandbox host name", sandbox, fields{"hostname": "a b"}, "a b"},
		{"sandbox domain name", sandbox, fields{"domainname": "a\n10.0.0.1 bank"}, `bank`},
		{"sandbox search", sandbox, fields{"dns": fields{"search": []string{"x\nnameserver 6.6.6.6"}}}, "nameserver"},
		{"sandbox server", sandbox, fields{"dns": fields{"servers": []string{"fe80::1%a\nb"}}}, `a\nb`},
		{"sandbox host", sandbox, fields{"hosts": []fields{{"name": "a b", "addr": "10.0.0.1"}}}, "a b"},
		{"sandbox host's address", sandbox, fields{"hosts": []fields{{"name": "a", "addr": "fe80::1%\n"}}}, `\n`},
		{"sandbox sysctl", sandbox, fields{"sysctls": fields{"net.ipv4/../../kernel.x": "1"}}, "sysctl"},
		{"sandbox cgroup", sandbox, fields{"cgroup": "relative"}, "relative"},
		{"sandbox label", sandbox, fields{"labels": fields{strings.Repeat("k", 129): ""}}, "kkk..."},

		{"reference to a path", keyNetworkName("web"), fields{"id": "../x"}, "../x"},
		{"driver with a path", keyUsedDriver("bridge"), fields{"id": "../x"}, "../x"},
		{"wrong type", network, fields{"name": []string{"a"}}, "cannot unmarshal array"},
		{"no version", network, fields{"v": nil}, "no version"},
		{"version of text", network, fields{"v": "1"}, "cannot unmarshal string"},
		{"newer but bad", network, fields{"v": 99, "name": "a\nb"}, `a\nb`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := changed(t, tc.key, tc.change)
			err := decodeAs(raw)
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v, want ErrInvalid", err)
			}
			if text := err.Error(); !strings.HasPrefix(text, "record "+tc.key+": ") || !strings.Contains(text, tc.says) || len(text) > 600 {
				t.Errorf("%q, want it to name record %s and say %q", text, tc.key, tc.says)
			}
		})
	}
	for key := range goodRecords() {
		if err := decodeAs(changed(t, key, nil)); err != nil {
			t.Errorf("a good record: %v", err)
		}
	}
	deep := store.Record{Key: network, Value: []byte(strings.Repeat("[", 20_000)), Rev: 1}
	if err := decodeAs(deep); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "max depth") {
		t.Errorf("deep record: %v", err)
	}
	newer := changed(t, network, fields{"v": 99, "colour": "blue"})
	if s, err := decode[networkRecord](newer); err != nil || !s.newer {
		t.Errorf("record of a newer version: %v, want it read", err)
	}
}

// changed returns the good record of that key, or of its kind, with other fields.
func changed(t *testing.T, key string, change map[string]any) store.Record {
	t.Helper()
	good, ok := goodRecords()[key]
	for k, v := range goodRecords() {
		if !ok && strings.Split(k, "/")[0] == strings.Split(key, "/")[0] {
			good = v
		}
	}
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		in := object
		if outer, inner, nested := strings.Cut(name, "."); nested {
			in, name = object[outer].(map[string]any), inner
		}
		if in[name] = value; value == nil {
			delete(in, name)
		}
	}
	if text, err = json.Marshal(object); err != nil {
		t.Fatal(err)
	}
	return store.Record{Key: key, Value: text, Rev: 1}
}

// decodeAs reads a record as what its key says it is.
func decodeAs(raw store.Record) (err error) {
	switch kind, _, _ := strings.Cut(raw.Key, "/"); kind {
	case "networks":
		_, err = decode[networkRecord](raw)
	case "endpoints":
		_, err = decode[endpointRecord](raw)
	case "claims":
		_, err = decode[claimRecord](raw)
	case keySubnets:
		_, err = decode[subnetsRecord](raw)
	case "nodes":
		_, err = decode[nodeRecord](raw)
	case keyNode:
		_, err = decode[identityRecord](raw)
	case "sandboxes":
		_, err = decode[sandboxRecord](raw)
	default:
		_, err = decode[refRecord](raw)
	}
	return err
}

// TestEndpointOfOthers: an endpoint's record must suit its network, too.
func TestEndpointOfOthers(t *testing.T) {
	good := goodRecords()
	n := good[keyNetwork(oneID)].(networkRecord)
	for _, tc := range []struct {
		name  string
		spoil func(*endpointRecord)
		says  string // "": it is fine
	}{
		{"good", func(*endpointRecord) {}, ""},
		{"outside", func(ep *endpointRecord) { ep.Addrs = []netip.Prefix{netip.MustParsePrefix("10.2.0.2/24")} }, "10.2.0.2/24"},
		{"other length", func(ep *endpointRecord) { ep.Addrs = []netip.Prefix{netip.MustParsePrefix("10.1.0.2/8")} }, "10.1.0.2/8"},
		{"gateway", func(ep *endpointRecord) { ep.Addrs = []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")} }, "gateway"},
		{"multicast MAC", func(ep *endpointRecord) { ep.MAC[0] = 1 }, "unicast"},
		{"broadcast MAC", func(ep *endpointRecord) { ep.MAC = drivers.MAC{255, 255, 255, 255, 255, 255} }, "unicast"},
		{"no MAC", func(ep *endpointRecord) { ep.MAC = drivers.MAC{} }, "MAC"},
	} {
		ep := good[keyEndpoint(oneID, otherID)].(endpointRecord)
		tc.spoil(&ep)
		err := n.checkEndpoint(&ep)
		if tc.says == "" && err != nil || tc.says != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s: %v, want it to say %q", tc.name, err, tc.says)
		}
	}
	var without endpointRecord
	if err := new(networkRecord).checkEndpoint(&without); err != nil {
		t.Errorf("network without addresses: %v", err)
	}
}
