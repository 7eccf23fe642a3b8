// Package crash ends a controller's process before and after every change of a store or of the host that it makes, for every
// operation, both drivers and both stores, and shows that nothing is left and nothing is lost. It has tests only.
//
// A case is: an operation in a process that kills itself at one step; a new process, whose New() leaves host and records
// in agreement; the interrupted call again, which succeeds, or is refused because it had happened; and the way back to where
// the case began. Meanwhile others ping each other.
//
//	go test ./internal/reliability/crash                                        # a sample, by a seed that it prints
//	go test ./internal/reliability/crash -seed 42                               # the same sample again
//	LIBCNM_FULL=1 go test -timeout 1h ./internal/reliability/crash              # every step
//	LIBCNM_FULL=1 go test -run 'Crash/local/bridge/join$' ./internal/reliability/crash
package crash
