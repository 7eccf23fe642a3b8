// Package testutil is the test rig: private namespaces for a whole test binary, hosts with their own Open vSwitch on one
// underlay, traffic between namespaces, faults, and the small helpers every test needs. It tests nothing by itself.
//
// Everything happens on the real kernel but never in the machine's own namespaces. A package's tests enter their own:
//
//	func TestMain(m *testing.M) { testutil.Main(m) }
//
//	func TestPing(t *testing.T) {
//		a, b := testutil.NewNS(t), testutil.NewNS(t)
//		testutil.Connect(t, a, "eth0", b, "eth0")
//		a.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.0.1/24"))
//		b.AddAddr(t, "eth0", netip.MustParsePrefix("10.0.0.2/24"))
//		if _, err := testutil.Ping(t.Context(), a, netip.MustParseAddr("10.0.0.2")); err != nil {
//			t.Fatal(err)
//		}
//	}
//
// The helpers take a [TB], which *testing.T and *testing.B satisfy and which [Run] makes for a program such as the demo.
// They fail the test rather than skip it when the machine lacks something, and undo what they did when the test ends;
// when the test is killed instead, its namespaces die with it and take every process, link and mount along.
package testutil
