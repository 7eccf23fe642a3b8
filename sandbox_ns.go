package libcnm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/libcnm/libcnm/internal/link"
)

// checkForeignNS refuses what is no network namespace, and the host's own, whose interfaces are not ours to set up.
func (c *NetworkController) checkForeignNS(path string) (err error) {
	ns, err := link.OpenNS(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	host, err := link.HostNS()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	if ns.Identity() == host.Identity() {
		return fmt.Errorf("namespace %s is the host's, use WithHostNetwork: %w", path, ErrInvalid)
	}
	return nil
}

// claimNS refuses a namespace that another sandbox has: each would take the other's routes for damage. It holds the turn of
// the namespace, whatever it is called, until the sandbox is known.
func (c *NetworkController) claimNS(ctx context.Context, path string) (release func(), err error) {
	wanted, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w: %w", path, err, ErrNotFound)
	}
	release, err = c.queue.Lock(ctx, namespaceTurn(wanted))
	if err != nil {
		return nil, err
	}
	for _, sb := range c.state.allSandboxes() {
		has, err := os.Stat(sb.rec.NetNS)
		if err == nil && os.SameFile(has, wanted) {
			release()
			return nil, fmt.Errorf("namespace %s is that of container %s: %w", path, sb.rec.ContainerID, ErrInUse)
		}
	}
	return release, nil
}

func namespaceTurn(ns os.FileInfo) string {
	if st, ok := ns.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("namespace/%d:%d", st.Dev, st.Ino)
	}
	return "namespace/" + ns.Name()
}
