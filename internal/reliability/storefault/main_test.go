package storefault

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/nodeagent"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

func TestMain(m *testing.M) {
	handlers := nodeagent.Handlers()
	methods := nodeagentMethods(handlers)
	handlers["audit"] = agent.Handle(audit.Answer)
	handlers["attempt"] = agent.Handle(methods.attempt)
	testutil.Main(m, testutil.NeedEtcd(), testutil.Agent(handlers))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attempt is a call with a deadline of its own on the host, so that it is seen how the library keeps to it.
type attempt struct {
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params,omitempty"`
	Timeout time.Duration   `json:"timeout"`
}

// outcome is what came of an attempt.
type outcome struct {
	Took        time.Duration `json:"took"`
	Error       string        `json:"error,omitempty"`
	Unavailable bool          `json:"unavailable,omitempty"`
	Late        bool          `json:"late,omitempty"` // its context had ended
}

type nodeagentMethods map[string]agent.Handler

func (m nodeagentMethods) attempt(ctx context.Context, a attempt) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	start := time.Now()
	_, err := m[a.Method](ctx, a.Params)
	o := outcome{Took: time.Since(start), Unavailable: errors.Is(err, errdefs.ErrUnavailable), Late: ctx.Err() != nil}
	if err != nil {
		o.Error = err.Error()
	}
	return o, nil
}
