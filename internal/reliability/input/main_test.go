package input

import (
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/testutil"
)

func TestMain(m *testing.M) {
	testutil.Main(m, testutil.NeedEtcd(), testutil.Agent(nodeagent.Handlers()))
}
