// Package storetest is the conformance suite of package store: every implementation passes it, and what it checks is
// what the rest of libcnm relies on.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store {
//			s, err := mystore.Open(t.TempDir())
//			if err != nil {
//				t.Fatal(err)
//			}
//			return s
//		})
//	}
//
// Each law is a subtest. When one is broken, the log says why it is a law.
package storetest
