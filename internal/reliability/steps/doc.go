// Package steps reads the list of steps from the source and shows that it is whole. A controller lives through each operation,
// with both drivers and both stores, while a witness that knows nothing of libcnm looks at host and store before and after every
// step: whatever changes between two steps was changed outside of one, where no crash test can end the process.
//
//	go test -v ./internal/reliability/steps
//
// prints each operation's steps. Not seen are checksum offloads and tracked connections, for which no program here asks,
// and what others do in their own time: Open vSwitch's ports in the kernel, carriers, IPv6 link-local addresses.
package steps
