package iptables

import (
	"fmt"
	"testing"
)

func BenchmarkCompile1000(b *testing.B) {
	s := Spec{Owner: "bridge", Networks: bridgeNetworks(1000)}
	b.ReportAllocs()
	for b.Loop() {
		if compile(b, IPv4, s).String() == "" {
			b.Fatal("no rules")
		}
	}
}

// One network changes, alone or among others.
func BenchmarkDelta(b *testing.B) {
	for _, count := range []int{10, 1000} {
		b.Run(fmt.Sprintf("one of %d", count), func(b *testing.B) {
			before := newState()
			if err := before.replace(Spec{Owner: "bridge", Networks: bridgeNetworks(count)}); err != nil {
				b.Fatal(err)
			}
			n := bridgeNetwork(count / 2)
			k := networkKey{"bridge", n.ID}
			n.Masquerade = false
			b.ReportAllocs()
			for b.Loop() {
				after := before.clone()
				if err := after.set("bridge", n); err != nil {
					b.Fatal(err)
				}
				d := newDelta()
				d.change(before.rulesOf(IPv4, k), after.rulesOf(IPv4, k))
				if d.String() == "" {
					b.Fatal("no difference")
				}
			}
		})
	}
}

// A whole host's rules are compared with a thousand networks and found equal.
func BenchmarkPlan1000(b *testing.B) {
	h := newHost(b, backends[0])
	fw := h.firewall(b)
	s := Spec{Owner: "bridge", Networks: bridgeNetworks(1000)}
	if err := fw.Sync(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	d, err := h.tools[0].save(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	want := compile(b, IPv4, s)
	b.ReportAllocs()
	for b.Loop() {
		if text, _ := plan(d, want); text != "" {
			b.Fatal(text)
		}
	}
}

// A network is set and removed on the real thing, in both families, next to one other or a thousand.
func BenchmarkSet(b *testing.B) {
	for _, backend := range backends {
		for _, bb := range []struct {
			name   string
			others int
		}{{"among1", 1}, {"among1000", 1000}} {
			b.Run(backend+"/"+bb.name, func(b *testing.B) {
				h := newHost(b, backend)
				fw := h.firewall(b)
				if err := fw.Sync(b.Context(), Spec{Owner: "bridge", Networks: bridgeNetworks(bb.others)}); err != nil {
					b.Fatal(err)
				}
				n := bridgeNetwork(bb.others)
				for b.Loop() {
					if err := fw.Set(b.Context(), "bridge", n); err != nil {
						b.Fatal(err)
					}
					if err := fw.Remove(b.Context(), "bridge", n.ID); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
