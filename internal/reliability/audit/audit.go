package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/store"
)

// Host says where to look. The calling process must be in the host's network and mount namespaces.
type Host struct {
	Node    string
	DataDir string      // has the local store; it is copied and the copy read, so a controller may be open, if it is idle
	RunDir  string      // has the namespaces and the sandboxes' files
	Cluster store.Store // nil: the local store has everything
	OVSDB   string      // as unix:/run/openvswitch/db.sock; empty: there is no Open vSwitch
	Closed  bool        // no controller lives, so the locks must be free
}

// Kind is what is wrong with an object.
type Kind string

// The kinds.
const (
	Stray     Kind = "stray"     // it is there and belongs to nothing
	Missing   Kind = "missing"   // it should be there
	Wrong     Kind = "wrong"     // it is there, and not as it should be
	Duplicate Kind = "duplicate" // it has two owners
)

// Finding is one object without an owner, or one owner without its object, or two owners.
type Finding struct {
	Kind    Kind
	Object  string // "link cnmv0123456789a", "record claims/...", "flow table=route ..."
	Problem string
}

func (f Finding) String() string { return fmt.Sprintf("%s %s: %s", f.Kind, f.Object, f.Problem) }

// Run compares the stores and the host. No findings: they agree. An error means that it could not look.
func Run(ctx context.Context, h Host) ([]Finding, error) {
	if h.Node == "" || h.DataDir == "" || h.RunDir == "" {
		return nil, fmt.Errorf("audit: node, data directory and run directory are required: %w", errdefs.ErrInvalid)
	}
	a := &audit{host: h}
	if err := a.run(ctx); err != nil {
		return nil, fmt.Errorf("audit host %s: %w", h.Node, err)
	}
	slices.SortFunc(a.found, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Object, y.Object), cmp.Compare(x.Problem, y.Problem))
	})
	return slices.Compact(a.found), nil
}

// audit is one look at a host.
type audit struct {
	host  Host
	found []Finding
	*records
	links *linkTable // of the host's namespace
	vsctl *database  // nil without Open vSwitch
}

func (a *audit) add(kind Kind, object, format string, args ...any) {
	a.found = append(a.found, Finding{Kind: kind, Object: object, Problem: fmt.Sprintf(format, args...)})
}

// differ adds a finding if an attribute of an object is not as wanted.
func differ[T comparable](a *audit, object, attribute string, want, have T) {
	if want != have {
		a.add(Wrong, object, "%s is %v, want %v", attribute, have, want)
	}
}

func (a *audit) run(ctx context.Context) (err error) {
	if a.records, err = a.load(ctx); err != nil {
		return err
	}
	a.agree()
	handle, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink socket: %w: %w", err, errdefs.ErrUnavailable)
	}
	defer handle.Close()
	if a.links, err = readLinks(handle); err != nil {
		return err
	}
	if a.host.OVSDB != "" {
		if a.vsctl, err = readDatabase(ctx, a.host.OVSDB); err != nil {
			return err
		}
	}
	plan, err := a.plan(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		a.auditLinks(plan),
		a.auditSandboxes(plan),
		a.auditDirs(),
		a.auditRoutes(a.links, "the host", plan.routes),
		a.auditFences(handle, plan),
		a.auditForwarding(),
		a.auditRules(ctx, plan),
		a.auditSwitch(ctx, plan),
	)
}
