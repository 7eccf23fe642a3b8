package audit_test

import (
	"testing"

	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

func TestMain(m *testing.M) {
	handlers := nodeagent.Handlers()
	handlers["audit"] = agent.Handle(audit.Answer)
	testutil.Main(m, testutil.NeedEtcd(), testutil.Agent(handlers))
}
