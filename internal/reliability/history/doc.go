// Package history decides whether what many controllers were answered can be explained: whether there is an order of
// their calls, each at some moment between its begin and its end, in which no resource ever has two owners and every
// refusal is right.
//
//	var h history.History
//	h.Pool("blue/ipv4", addresses...)
//	h.Add(history.Op{Client: 1, Realm: "blue", Kind: history.Acquire, Token: "t1", Pools: []string{"blue/ipv4"},
//		Got: []string{"10.1.0.2"}, Start: 10, End: 20})
//	h.Add(history.Op{Client: 2, Realm: "blue", Kind: history.Release, Token: "t1", Start: 30, End: 40})
//	if v := h.Check(time.Minute); !v.Ok() {
//		t.Error(v)
//	}
//
// A resource is anything that has one owner: an address or a name in a network, a network's name, a VNI, a subnet. A
// realm is a set of resources that calls take together. Its tests are eight controller processes on one etcd under every
// fault that can be injected, and 32 controllers that race for 16 addresses.
package history
