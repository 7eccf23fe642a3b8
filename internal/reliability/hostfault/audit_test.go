package hostfault

import (
	"testing"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

// audit compares stores and hosts.
func (w *world) audit(t *testing.T, sum *report.Figures) {
}
