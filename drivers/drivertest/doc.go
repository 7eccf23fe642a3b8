// Package drivertest holds the laws every driver obeys, as a test suite, and an in-memory driver that obeys them.
//
// A driver's own test makes a clean host and hands it over:
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, func(tb testing.TB) drivertest.Host {
//			return drivertest.Host{
//				Open:       func() (drivers.Driver, error) { return mydriver.New(mydriver.Config{}) },
//				NewSandbox: func() drivertest.Sandbox { return newNamespace(tb) },
//				Dump:       func() string { return dumpMarkedObjects(tb) },
//			}
//		})
//	}
//
// The suite looks at a driver only through its methods and the dump: it proves that the host follows the desired state,
// not that packets flow. Tests of the data plane are the driver's own.
//
// [NewFake] is for tests of what stands above a driver: it needs no kernel, is cheap enough for a thousand nodes in one
// process, and fails on demand. Fakes that share a [FakeHost] are successive processes on one machine.
package drivertest
