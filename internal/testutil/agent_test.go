package testutil_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
	"github.com/libcnm/libcnm/internal/testutil/agent"
)

type none struct{}

// handlers are this test binary's agent.
var handlers = map[string]agent.Handler{
	"hostname": agent.Handle(func(context.Context, none) (string, error) { return os.Hostname() }),
	"write": agent.Handle(func(_ context.Context, path string) (none, error) {
		fmt.Println("what a handler prints does not disturb the answers")
		return none{}, os.WriteFile(path, []byte("here"), 0o600)
	}),
	"wait": agent.Handle(func(ctx context.Context, _ none) (none, error) {
		<-ctx.Done()
		return none{}, ctx.Err()
	}),
	"missing": agent.Handle(func(context.Context, none) (none, error) {
		return none{}, fmt.Errorf("network blue: %w", errdefs.ErrNotFound)
	}),
	"netns": agent.Handle(func(ctx context.Context, name string) (string, error) {
		out, err := exec.CommandContext(ctx, "ip", "netns", "add", name).CombinedOutput()
		return string(out), err
	}),
}

func TestAgentOnHost(t *testing.T) {
	testutil.NoLeaks(t)
	rig := testutil.NewHosts(t, 2, testutil.HostsOptions{NoOVS: true})
	var all sync.WaitGroup
	for _, h := range rig.Hosts {
		h.Start(t)
		for range 20 {
			all.Go(func() {
				var name string
				if err := h.Call(t.Context(), "hostname", nil, &name); err != nil || name != h.Name {
					t.Errorf("agent of %s says it is on %q, error %v", h.Name, name, err)
				}
			})
		}
	}
	all.Wait()

	h, other := rig.Hosts[0], rig.Hosts[1]
	for _, path := range []string{"/run/libcnm-test", "/var/lib/libcnm-test"} {
		if err := h.Call(t.Context(), "write", path, nil); err != nil {
			t.Fatal(err)
		}
		if out := strings.TrimSpace(h.Run(t, "cat", path)); out != "here" {
			t.Errorf("%s on its host: %q", path, out)
		}
		if err := other.Command("cat", path).Run(); err == nil {
			t.Errorf("%s of one host is seen on another", path)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s of a host is seen by the test", path)
		}
	}
	if err := h.Call(t.Context(), "missing", nil, nil); !errors.Is(err, errdefs.ErrNotFound) ||
		!strings.Contains(err.Error(), "network blue") {
		t.Errorf("an error of a class comes back as %v", err)
	}

	// A namespace that the agent mounts on its host is not mounted here, and is found all the same.
	if err := h.Call(t.Context(), "netns", "box", nil); err != nil {
		t.Fatal(err)
	}
	box := h.OpenNS(t, "/run/netns/box")
	if links, err := box.Netlink().LinkList(); err != nil || len(links) != 1 {
		t.Errorf("links of a new namespace on a host: %v, error %v", links, err)
	}
	h.Stop(t)
	if err := h.Call(t.Context(), "hostname", nil, nil); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("a stopped agent answers %v", err)
	}
}

func TestAgentIsKilled(t *testing.T) {
	testutil.NoLeaks(t)
	rig := testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: true})
	h := rig.Hosts[0]
	h.Start(t)
	result := make(chan error, 1)
	go func() { result <- h.Call(t.Context(), "wait", nil, nil) }()
	if err := h.Call(t.Context(), "hostname", nil, nil); err != nil {
		t.Fatal(err)
	}
	h.Restart(t)
	if err := <-result; !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("a call in flight when the agent is killed ends with %v", err)
	}
	if err := h.Call(t.Context(), "hostname", nil, nil); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	h.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Call(ctx, "hostname", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused agent: %v", err)
	}
	h.Resume(t)
	if err := h.Call(t.Context(), "hostname", nil, nil); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}
