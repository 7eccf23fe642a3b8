package crash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/store/etcd"
)

const (
	// patience is for a machine that does much else; what is waited for takes well under a second.
	patience = 30 * time.Second

	// bystander begins the names of what no operation touches.
	bystander = "still"
)

// opening says how to start a controller. Directories are the defaults, which are the host's own.
type opening struct {
	Node     string     `json:"node"`
	Underlay netip.Addr `json:"underlay"`
	Etcd     []string   `json:"etcd,omitempty"` // none: the local store
}

// world is what operations work on: a host, seen from the process that dies.
type world struct {
	witness witness

	mu      sync.Mutex // guards what follows; held by a whole request, for there is one at a time
	driver  string     // of the operation
	at      opening
	ctrl    *libcnm.NetworkController // nil: closed
	cluster *etcd.Store               // for the audit; nil: the local store has everything
}

// open starts the controller, unless it runs.
func (w *world) open(ctx context.Context) error {
	if w.ctrl != nil {
		return nil
	}
	opts := []libcnm.Option{
		libcnm.WithNode(w.at.Node, w.at.Underlay),
		libcnm.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", w.at.Node)),
	}
	if len(w.at.Etcd) > 0 {
		opts = append(opts, libcnm.WithEtcd(clientv3.Config{Endpoints: w.at.Etcd}))
	}
	ctrl, err := libcnm.New(ctx, opts...)
	if err != nil {
		return err
	}
	w.ctrl = ctrl
	return nil
}

func (w *world) close() error {
	if w.ctrl == nil {
		return nil
	}
	err := w.ctrl.Close()
	w.ctrl = nil
	return err
}

// wipe makes the host one that has never seen a controller.
func (w *world) wipe() error {
	return errors.Join(w.close(), os.RemoveAll(libcnm.DefaultDataDir), os.RemoveAll(libcnm.DefaultRunDir))
}

// audit compares the records with the host.
func (w *world) audit(ctx context.Context) ([]string, error) {
	h := audit.Host{
		Node: w.at.Node, DataDir: libcnm.DefaultDataDir, RunDir: libcnm.DefaultRunDir, OVSDB: libcnm.DefaultOVSDB,
		Closed: w.ctrl == nil,
	}
	if len(w.at.Etcd) > 0 {
		if w.cluster == nil {
			s, err := etcd.New(ctx, clientv3.Config{Endpoints: w.at.Etcd})
			if err != nil {
				return nil, err
			}
			w.cluster = s
		}
		h.Cluster = w.cluster
	}
	found, err := audit.Run(ctx, h)
	var list []string
	for _, f := range found {
		list = append(list, f.String())
	}
	return list, err
}

// look says who is to look for differences.
type look struct {
	Check bool `json:"check,omitempty"` // the controller too, before the audit
}

// differences is what the controller finds wrong, or else the audit.
func (w *world) differences(ctx context.Context, by look) ([]string, error) {
	if !by.Check {
		return w.audit(ctx)
	}
	drift, err := w.ctrl.Check(ctx)
	if err != nil {
		return nil, err
	}
	if len(drift) == 0 {
		return w.audit(ctx)
	}
	var list []string
	for _, d := range drift {
		list = append(list, "check: "+d.String())
	}
	return list, nil
}

// settle waits until there are no differences, and returns those that stay.
func (w *world) settle(ctx context.Context, by look) ([]string, error) {
	var found []string
	var failure error
	err := testutil.Wait(ctx, patience, func() error {
		if found, failure = w.differences(ctx, by); failure != nil {
			return failure
		}
		if len(found) > 0 {
			return errors.New("host and records differ")
		}
		return nil
	})
	if len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// clean removes everything but the bystanders.
func (w *world) clean(ctx context.Context) error {
	for _, sb := range w.ctrl.Sandboxes() {
		if strings.HasPrefix(sb.ContainerID(), bystander) {
			continue
		}
		if err := sb.Delete(ctx); err != nil {
			return err
		}
	}
	all, err := w.ctrl.Networks(ctx)
	if err != nil {
		return err
	}
	for _, n := range all {
		eps, err := n.Endpoints(ctx)
		if err != nil {
			return err
		}
		for _, ep := range eps {
			if strings.HasPrefix(ep.Name(), bystander) {
				continue
			}
			if err := ep.Delete(ctx); err != nil {
				return err
			}
		}
		if strings.HasPrefix(n.Name(), bystander) {
			continue
		}
		if err := n.Delete(ctx); err != nil {
			return err
		}
	}
	return removeRuntimeNS(ctx)
}

// inventory is everything that the controller knows, one object a line.
func (w *world) inventory(ctx context.Context) ([]string, error) {
	var list []string
	all, err := w.ctrl.Networks(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		list = append(list, fmt.Sprintf("network %s %s %s %v %d", n.ID(), n.Name(), n.Driver(), n.Subnets(), n.VNI()))
		eps, err := n.Endpoints(ctx)
		if err != nil {
			return nil, err
		}
		for _, ep := range eps {
			list = append(list, fmt.Sprintf("endpoint %s %s %+v", ep.ID(), ep.Name(), ep.Info()))
		}
	}
	for _, sb := range w.ctrl.Sandboxes() {
		list = append(list, fmt.Sprintf("sandbox %s %s %s", sb.ID(), sb.ContainerID(), sb.Key()))
	}
	slices.Sort(list)
	return list, nil
}
