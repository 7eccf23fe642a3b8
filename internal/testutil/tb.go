package testutil

import "context"

// TB is what the rig needs from a test; *testing.T and *testing.B satisfy it, and Run makes one for a program.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any) // marks the test failed and goes on
	Fatalf(format string, args ...any) // does not return; only from the test's own goroutine
	Failed() bool
	Cleanup(f func()) // last in, first out
	TempDir() string
	Context() context.Context // ends before the cleanups run
}
