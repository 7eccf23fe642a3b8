package local

import (
	"os"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path))
	}
	if args := os.Getenv(mortalEnv); args != "" {
		os.Exit(mortal(args))
	}
	testutil.Main(m)
}
