package hostfault

import (
	"maps"
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

func TestMain(m *testing.M) {
	handlers := nodeagent.Handlers()
	maps.Copy(handlers, map[string]agent.Handler{"second": agent.Handle(openSecond), "audit": agent.Handle(audit.Answer)})
	testutil.Main(m, testutil.NeedEtcd(), testutil.Agent(handlers))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
