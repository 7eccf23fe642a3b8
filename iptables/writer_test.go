package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/testutil"
)

// Many callers share few restores, and each finds its own change in force when its call returns.
func TestFirewallCoalesces(t *testing.T) {
	const callers = 64
	eachBackend(t, func(t *testing.T, h *host) {
		testutil.NoLeaks(t)
		fw := h.firewall(t)
		mustSync(t, fw, Spec{Owner: "bridge", Networks: bridgeNetworks(1)})
		run := func(what string, fn func(Network) error) {
			t.Helper()
			before := fw.restores.Load()
			start, errs := make(chan struct{}), make([]error, callers)
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					<-start
					errs[i] = fn(bridgeNetwork(i + 1))
				})
			}
			close(start)
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			n := fw.restores.Load() - before
			t.Logf("%s: %d restores for %d changes in 2 families", what, n, callers)
			if n > callers/2 {
				t.Errorf("%s: %d restores for %d changes", what, n, callers)
			}
		}
		run("set", func(n Network) error { return fw.Set(t.Context(), "bridge", n) })
		if found, _ := differences(t, fw, Spec{Owner: "bridge", Networks: bridgeNetworks(callers + 1)}); len(found) > 0 {
			t.Errorf("differences after all Sets: %q", found)
		}
		run("remove", func(n Network) error { return fw.Remove(t.Context(), "bridge", n.ID) })
		if found, _ := differences(t, fw, Spec{Owner: "bridge", Networks: bridgeNetworks(1)}); len(found) > 0 {
			t.Errorf("differences after all Removes: %q", found)
		}
	})
}

// fakeHost accepts every restore but those that refuse says otherwise of. Its iptables-save tells nothing, so it serves
// for what happens between callers and writer only.
type fakeHost struct {
	refuse func(text string) error

	mu    sync.Mutex // guards texts
	texts []string
	gate  chan struct{} // each restore takes one, if not nil
}

func (h *fakeHost) run(_ context.Context, stdin io.Reader, name string, _ ...string) ([]byte, error) {
	if strings.HasSuffix(name, "-save") {
		return nil, nil
	}
	if h.gate != nil {
		<-h.gate
	}
	text, err := io.ReadAll(stdin)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, string(text))
	if h.refuse != nil {
		return nil, h.refuse(string(text))
	}
	return nil, nil
}

func (h *fakeHost) firewall() *Firewall {
	tl := tool{family: IPv4, name: "fake", run: h.run}
	return &Firewall{tools: []tool{tl}, applied: applied{state: newState(), stale: true}}
}

// waiting waits until n requests are in the queue.
func waiting(t *testing.T, fw *Firewall, n int) {
	t.Helper()
	testutil.Eventually(t, 5*time.Second, func() error {
		fw.mu.Lock()
		defer fw.mu.Unlock()
		if len(fw.queue) != n {
			return fmt.Errorf("%d requests waiting, want %d", len(fw.queue), n)
		}
		return nil
	})
}

// heldUp starts a firewall whose writer is busy with a first change until the gate lets it go on.
func heldUp(t *testing.T, refuse func(string) error) (*Firewall, *fakeHost, func()) {
	t.Helper()
	h := &fakeHost{gate: make(chan struct{}), refuse: refuse}
	fw := h.firewall()
	first := make(chan error, 1)
	go func() { first <- fw.Set(t.Context(), "bridge", bridgeNetwork(100)) }()
	testutil.Eventually(t, 5*time.Second, func() error {
		if fw.restores.Load() == 0 {
			return errors.New("the writer has not begun")
		}
		return nil
	})
	return fw, h, func() {
		close(h.gate)
		if err := <-first; err != nil {
			t.Errorf("first change: %v", err)
		}
	}
}

// What the host refuses, and what clashes, fails alone.
func TestFirewallFailsAlone(t *testing.T) {
	bad := bridgeNetwork(1)
	fw, h, release := heldUp(t, func(text string) error {
		if strings.Contains(text, bad.Interface) {
			return errors.New("no such thing")
		}
		return nil
	})
	clash := bridgeNetwork(2)
	clash.Interface = bridgeNetwork(100).Interface
	changes := []Network{bridgeNetwork(0), bad, clash, bridgeNetwork(3)}
	errs := make([]chan error, len(changes))
	for i, n := range changes {
		errs[i] = make(chan error, 1)
		go func() { errs[i] <- fw.Set(t.Context(), "bridge", n) }()
		waiting(t, fw, i+1)
	}
	release()
	for i, want := range []error{nil, errdefs.ErrUnavailable, errdefs.ErrConflict, nil} {
		if err := <-errs[i]; !errors.Is(err, want) || (want != nil) != (err != nil) {
			t.Errorf("change %d: %v, want %v", i, err, want)
		}
	}
	// The bad one is forgotten, the good ones are known: reading a host that has nothing brings all of them back.
	h.refuse = nil
	if err := fw.Set(t.Context(), "bridge", bridgeNetwork(4)); err != nil {
		t.Fatal(err)
	}
	mustSync(t, fw, Spec{Owner: "other"})
	last := h.texts[len(h.texts)-1]
	for i, want := range map[int]bool{0: true, 1: false, 3: true, 4: true, 100: true} {
		if got := strings.Contains(last, bridgeNetwork(i).Interface); got != want {
			t.Errorf("network %d in what is in force: %t, want %t", i, got, want)
		}
	}
	if err := fw.Close(); err != nil {
		t.Error(err)
	}
}

func TestFirewallWithdrawsCancelled(t *testing.T) {
	fw, h, release := heldUp(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	err := make(chan error, 1)
	go func() { err <- fw.Set(ctx, "bridge", bridgeNetwork(1)) }()
	waiting(t, fw, 1)
	cancel()
	if err := <-err; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	release()
	if err := fw.Close(); err != nil {
		t.Error(err)
	}
	if text := strings.Join(h.texts, ""); strings.Contains(text, bridgeNetwork(1).Interface) {
		t.Errorf("the cancelled change was made:\n%s", text)
	}
	if err := fw.Set(ctx, "bridge", bridgeNetwork(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v, want context.Canceled", err)
	}
}

func TestFirewallClose(t *testing.T) {
	testutil.NoLeaks(t)
	fw := (&fakeHost{}).firewall()
	if err := fw.Set(t.Context(), "bridge", bridgeNetwork(1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := fw.Close(); err != nil {
			t.Error(err)
		}
	}
	n := bridgeNetwork(1)
	_, checkErr := fw.Check(t.Context(), Spec{Owner: "bridge"})
	for name, err := range map[string]error{
		"Set":            fw.Set(t.Context(), "bridge", n),
		"Remove":         fw.Remove(t.Context(), "bridge", n.ID),
		"SetTunnelPorts": fw.SetTunnelPorts(t.Context(), "bridge", 1),
		"Sync":           fw.Sync(t.Context(), Spec{Owner: "bridge"}),
		"Check":          checkErr,
	} {
		if !errors.Is(err, errdefs.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}

// Bad input is refused before the writer sees it, and what the caller does with its slices afterwards does not matter.
func TestFirewallInput(t *testing.T) {
	h := &fakeHost{}
	fw := h.firewall()
	bad := bridgeNetwork(1)
	bad.Interface = "eth+"
	_, checkErr := fw.Check(t.Context(), Spec{Owner: "bridge", Networks: []Network{bad}})
	for name, err := range map[string]error{
		"Set":                 fw.Set(t.Context(), "bridge", bad),
		"Set, owner":          fw.Set(t.Context(), "Bridge", bridgeNetwork(1)),
		"Remove":              fw.Remove(t.Context(), "bridge", "../x"),
		"Remove, owner":       fw.Remove(t.Context(), "", bad.ID),
		"SetTunnelPorts":      fw.SetTunnelPorts(t.Context(), "bridge", 0),
		"SetTunnelPorts, own": fw.SetTunnelPorts(t.Context(), "a b", 4789),
		"Sync":                fw.Sync(t.Context(), Spec{Owner: "bridge", Networks: []Network{bad}}),
		"Check":               checkErr,
	} {
		if !errors.Is(err, errdefs.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if len(h.texts) > 0 {
		t.Errorf("restores: %q", h.texts)
	}
	n := bridgeNetwork(1)
	if err := fw.Set(t.Context(), "bridge", n); err != nil {
		t.Fatal(err)
	}
	n.Gateways[0], n.Subnets[0] = ip("203.0.113.1"), pfx("203.0.113.0/24")
	if err := fw.Sync(t.Context(), Spec{Owner: "other"}); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(h.texts, ""); strings.Contains(text, "203.0.113") {
		t.Errorf("the caller's slice is in use:\n%s", text)
	}
}

func TestNewWithoutPrograms(t *testing.T) {
	for _, cfg := range []Config{{V4: "/nonexistent/iptables"}, {V6: "no-such-ip6tables"}} {
		if _, err := New(cfg); !errors.Is(err, errdefs.ErrUnavailable) || !strings.Contains(err.Error(), cfg.V4+cfg.V6) {
			t.Errorf("New(%+v): %v, want ErrUnavailable that names it", cfg, err)
		}
	}
	old := t.TempDir() + "/iptables"
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho iptables v1.4.21\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{V4: old}); !errors.Is(err, errdefs.ErrUnsupported) {
		t.Errorf("an old iptables: %v, want ErrUnsupported", err)
	}
}

func TestNewUsesTheSystems(t *testing.T) {
	fw, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tl := range fw.tools {
		names = append(names, tl.name)
	}
	if got := strings.Join(names, " "); got != "iptables ip6tables" {
		t.Errorf("programs %s", got)
	}
}

func TestHasIPv6(t *testing.T) {
	dir := t.TempDir()
	if ok, err := hasIPv6(dir); !ok || err != nil {
		t.Errorf("there: %t, %v", ok, err)
	}
	if ok, err := hasIPv6(dir + "/none"); ok || err != nil {
		t.Errorf("absent: %t, %v", ok, err)
	}
	if _, err := hasIPv6(dir + "\x00"); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("unreadable: %v, want ErrUnavailable", err)
	}
}

// Trouble that may pass is told from what the host cannot do.
func TestRestoreErrorClass(t *testing.T) {
	h := newHost(t, "nft")
	for script, want := range map[string]error{"exit 4": errdefs.ErrUnavailable, "exit 2": errdefs.ErrUnsupported, "kill -9 $$": errdefs.ErrUnavailable} {
		_, err := h.output(t.Context(), nil, "sh", "-c", script)
		if got := class(err); !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", script, got, want)
		}
	}
	tl := h.tools[0]
	if err := tl.restore(t.Context(), "*nosuchtable\nCOMMIT\n"); !errors.Is(err, errdefs.ErrUnsupported) || !strings.Contains(err.Error(), "change ip rules") {
		t.Errorf("a table that does not exist: %v", err)
	}
	tl.run = func(context.Context, io.Reader, string, ...string) ([]byte, error) {
		return bytes.Clone([]byte("?\n")), nil
	}
	if _, err := tl.save(t.Context()); !errors.Is(err, errdefs.ErrUnsupported) {
		t.Errorf("a save nobody can read: %v", err)
	}
}
