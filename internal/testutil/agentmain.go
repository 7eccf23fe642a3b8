package testutil

import (
	"context"
	"fmt"
	"os"

	"github.com/libcnm/libcnm/internal/testutil/agent"
)

// serveAgent is the whole life of a host's controller process.
func serveAgent(handlers map[string]agent.Handler) int {
	out := os.Stdout
	os.Stdout = os.Stderr // what a handler prints must not end up between two responses
	if err := agent.Serve(context.Background(), os.Stdin, out, handlers); err != nil {
		fmt.Fprintf(os.Stderr, "testutil: agent: %v\n", err)
		return 1
	}
	return 0
}
