package ovsvxlan_test

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/libcnm/libcnm/ovsvxlan"
)

// manyPeers returns dual-stack peers on 100 nodes.
func manyPeers(n int) []ovsvxlan.Peer {
	peers := make([]ovsvxlan.Peer, n)
	for i := range peers {
		p := peer(fmt.Sprintf("%032x", i), uint64(i), i, i+2)
		p.Addrs = append(p.Addrs, netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x01, 14: byte((i + 2) >> 8), 15: byte(i + 2)}))
		p.VTEP = netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i%100)})
		peers[i] = p
	}
	return peers
}

func compilePeers(b testing.TB, c *ovsvxlan.Claims, objects []ovsvxlan.Object) []ovsvxlan.Program {
	programs := make([]ovsvxlan.Program, 0, len(objects))
	for _, o := range objects {
		p, ok := c.Peer(o.ID)
		if !ok {
			b.Fatalf("%v has no program", o)
		}
		programs = append(programs, must(ovsvxlan.CompilePeer(testBase, blue, p))(b))
	}
	return programs
}

// BenchmarkCompile10000Peers goes from nothing to the bundle that a node needs which joins a network of 10,000 peers.
func BenchmarkCompile10000Peers(b *testing.B) {
	peers := manyPeers(10_000)
	b.ReportAllocs()
	for b.Loop() {
		c := ovsvxlan.NewClaims(blue)
		want := must(ovsvxlan.Merge(compilePeers(b, c, c.ReplacePeers(peers))...))(b)
		bundle := must(io.Copy(io.Discard, ovsvxlan.Diff(ovsvxlan.Program{}, want).Bundle()))(b)
		b.ReportMetric(float64(len(want.Flows())), "flows")
		b.ReportMetric(float64(bundle)/1e6, "bundle-MB")
	}
}

// BenchmarkOneOfPeers changes the node of one peer. What that costs must not depend on how many others there are.
func BenchmarkOneOfPeers(b *testing.B) {
	for _, count := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprintf("one of %d", count), func(b *testing.B) {
			peers := manyPeers(count)
			c := ovsvxlan.NewClaims(blue)
			c.ReplacePeers(peers)
			p := peers[count/2]
			have := must(ovsvxlan.CompilePeer(testBase, blue, p))(b)
			b.ReportAllocs()
			for b.Loop() {
				p.Generation++
				p.VTEP = netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + p.Generation%100)})
				want := must(ovsvxlan.Merge(compilePeers(b, c, c.SetPeer(p))...))(b)
				if must(io.Copy(io.Discard, ovsvxlan.Diff(have, want).Bundle()))(b) == 0 {
					b.Fatal("nothing changed")
				}
				have = want
			}
		})
	}
}
