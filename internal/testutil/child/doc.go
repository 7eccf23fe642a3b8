// Package child tests a program as a process: the test binary starts itself again, and there it is the program. What the
// tests run is then what they were built from, with the race detector where they have it.
//
//	func TestMain(m *testing.M) { child.Main(m, main) }
//
//	func TestGreets(t *testing.T) {
//		p := child.Start(t, testutil.HomeNS(t), "-name", "world")
//		p.Line("hello", "world")
//		p.Exit(0)
//	}
package child
