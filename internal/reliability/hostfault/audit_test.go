package hostfault

import (
	"errors"
	"fmt"
	"testing"

	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/reliability/report"
	"github.com/libcnm/libcnm/internal/testutil"
)

// audit demands that every host and the stores agree. It looks more than once, because a controller may be at work.
func (w *world) audit(t *testing.T, sum *report.Figures) {
	t.Helper()
	var found []audit.Finding
	err := testutil.Wait(t.Context(), promised, func() error {
		found = nil
		var errs []error
		for _, h := range w.Hosts {
			r := audit.Request{Node: h.Name}
			if w.Etcd != nil {
				r.Etcd = w.Etcd.Endpoints()
			}
			if h.OVS != nil {
				r.OVSDB = "unix:/run/openvswitch/db.sock"
			}
			var list []audit.Finding
			errs = append(errs, h.Call(t.Context(), "audit", r, &list))
			found = append(found, list...)
		}
		if len(found) > 0 {
			errs = append(errs, fmt.Errorf("%d findings", len(found)))
		}
		return errors.Join(errs...)
	})
	for _, f := range found {
		t.Errorf("audit: %v", f)
	}
	if err != nil {
		t.Errorf("audit: %v", err)
	}
	sum.Leaks += len(found)
}
