package crash

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/libcnm/libcnm"
)

// hasNetwork demands that the network is there and can be used.
func hasNetwork(name string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		return joined{}, newEndpoint(name, "probe")(ctx, w)
	}
}

func noNetwork(name string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		_, err := w.network(ctx, name)
		return joined{}, absent("network", err)
	}
}

// hasEndpoint demands that the endpoint is there, with addresses.
func hasEndpoint(network, name string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		e, err := w.endpoint(ctx, network, name)
		if err == nil && len(e.Info().Addresses) != 2 {
			err = fmt.Errorf("endpoint has addresses %v, want one of each family", e.Info().Addresses)
		}
		return joined{}, err
	}
}

func noEndpoint(network, name string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		_, err := w.endpoint(ctx, network, name)
		return joined{}, absent("endpoint", err)
	}
}

func hasSandbox(container string) outcome {
	return func(_ context.Context, w *world) (joined, error) {
		sb, err := w.ctrl.SandboxByContainer(container)
		if err != nil {
			return joined{}, err
		}
		for _, path := range []string{sb.Key(), sb.HostsPath(), sb.HostnamePath(), sb.ResolvConfPath()} {
			_, missing := os.Stat(path)
			err = errors.Join(err, missing)
		}
		return joined{}, err
	}
}

func noSandbox(container string) outcome {
	return func(_ context.Context, w *world) (joined, error) {
		_, err := w.ctrl.SandboxByContainer(container)
		return joined{}, absent("sandbox", err)
	}
}

// absent turns the error of a search around.
func absent(what string, err error) error {
	switch {
	case errors.Is(err, libcnm.ErrNotFound):
		return nil
	case err == nil:
		return fmt.Errorf("%s is still there", what)
	}
	return err
}

// isJoined demands that the endpoint is in the sandbox, and tells whom it reaches: its gateways and the network's others.
func isJoined(network, name, container string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		e, sb, err := w.membership(ctx, network, name, container)
		if err != nil {
			return joined{}, err
		}
		info := e.Info()
		if info.Sandbox != sb.ID() || info.Interface == "" {
			return joined{}, fmt.Errorf("endpoint is not in the sandbox: %+v", info)
		}
		at := joined{Key: sb.Key(), Reach: info.Gateway}
		others, err := e.Network().Endpoints(ctx)
		if err != nil {
			return joined{}, err
		}
		for _, o := range others {
			if o.ID() == e.ID() || o.Info().Sandbox == "" {
				continue
			}
			for _, p := range o.Info().Addresses {
				at.Reach = append(at.Reach, p.Addr())
			}
		}
		return at, nil
	}
}

// isFree demands that the endpoint is there, in no sandbox.
func isFree(network, name string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		e, err := w.endpoint(ctx, network, name)
		if err == nil && e.Info().Sandbox != "" {
			err = fmt.Errorf("endpoint is still joined: %+v", e.Info())
		}
		return joined{}, err
	}
}

// isRebooted demands that the sandboxes have ended with the kernel, and that the endpoint is still there.
func isRebooted(network, name string) outcome {
	return func(ctx context.Context, w *world) (joined, error) {
		if left := w.ctrl.Sandboxes(); len(left) > 0 {
			return joined{}, fmt.Errorf("%d sandboxes have outlived a reboot", len(left))
		}
		return isFree(network, name)(ctx, w)
	}
}

// isClosed demands that a closed controller holds nothing, and opens another.
func isClosed(ctx context.Context, w *world) (joined, error) {
	found, err := w.audit(ctx)
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("after Close: %q", found)
	}
	return joined{}, errors.Join(err, w.open(ctx))
}
