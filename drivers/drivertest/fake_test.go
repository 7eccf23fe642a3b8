package drivertest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/drivers"
)

// fakeRig makes a Host around a driver that programs a FakeHost.
func fakeRig(info drivers.Info, open func(FakeConfig) drivers.Driver) Factory {
	return func(testing.TB) Host {
		host := NewFakeHost()
		sandboxes := 0
		h := Host{
			Open: func() (drivers.Driver, error) { return open(FakeConfig{Info: info, Host: host}), nil },
			NewSandbox: func() Sandbox {
				sandboxes++
				return Sandbox{NetNS: fmt.Sprintf("/run/netns/%d", sandboxes), Delete: func() {}}
			},
			Dump:      func() string { return host.Dump(info.Name) },
			Bystander: func() func() string { return fakeBystander(host, info) },
			Damage: []Damage{
				{"all lost", func(drivers.NetworkState) { host.Lose("reboot") }},
				{"endpoint lost", func(s drivers.NetworkState) { host.LoseEndpoint(s.Endpoints[0].ID) }},
			},
		}
		return h
	}
}

func fakeBystander(host *FakeHost, info drivers.Info) func() string {
	other := info
	other.Name = "other"
	host.putNetwork(fakeKey{"other", "0"}, drivers.Network{Name: "theirs"})
	return func() string { return host.Dump("other") }
}

var (
	localInfo   = drivers.Info{Name: "fake", Scope: drivers.ScopeLocal, Addressing: true}
	clusterInfo = drivers.Info{Name: "fake", Scope: drivers.ScopeCluster, Addressing: true, VNI: true, Overlap: true}
)

func TestFakeConformance(t *testing.T) {
	for name, info := range map[string]drivers.Info{
		"local":      localInfo,
		"cluster":    clusterInfo,
		"singleton":  {Name: "fake", Scope: drivers.ScopeLocal, Addressing: true, Singleton: true},
		"no address": {Name: "fake", Scope: drivers.ScopeLocal, Singleton: true, HostNetNS: true},
	} {
		t.Run(name, func(t *testing.T) { Run(t, fakeRig(info, NewFake)) })
	}
}

func TestFakeFault(t *testing.T) {
	boom := errors.New("no space left on device")
	var steps []string
	d := NewFake(FakeConfig{Fault: func(step string) error {
		steps = append(steps, step)
		if strings.HasSuffix(step, "interface") {
			return boom
		}
		return nil
	}})
	if err := d.ApplyNetwork(t.Context(), drivers.Network{ID: "n"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.ApplyEndpoint(t.Context(), drivers.Endpoint{ID: "e", Network: "n"}); !errors.Is(err, boom) {
		t.Errorf("ApplyEndpoint: %v, want %v", err, boom)
	}
	want := "add network n|add endpoint e link|add endpoint e interface"
	if got := strings.Join(steps, "|"); got != want {
		t.Errorf("steps %q, want %q", got, want)
	}
}

func TestFakeLoseNotifies(t *testing.T) {
	host := NewFakeHost()
	d := NewFake(FakeConfig{Host: host})
	if err := d.ApplyNetwork(t.Context(), drivers.Network{ID: "n"}); err != nil {
		t.Fatal(err)
	}
	host.Lose("reboot")
	host.Lose("reboot") // never blocks on one that nobody reads
	if dump := host.Dump("fake"); dump != "" {
		t.Errorf("host after Lose:\n%s", dump)
	}
	if reason := <-d.(drivers.Notifier).Events(); reason != "reboot" {
		t.Errorf("event %q, want reboot", reason)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFakeMissingNetwork(t *testing.T) {
	d := NewFake(FakeConfig{Info: clusterInfo})
	if _, err := d.ApplyEndpoint(t.Context(), drivers.Endpoint{ID: "e", Network: "n"}); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("ApplyEndpoint without its network: %v, want ErrNotFound", err)
	}
	p, ok := drivers.As[drivers.PeerApplier](d)
	if !ok {
		t.Fatal("a cluster fake has no peers")
	}
	if err := p.ApplyPeers(t.Context(), "n", drivers.PeerUpdate{}); !errors.Is(err, drivers.ErrNotFound) {
		t.Errorf("ApplyPeers without its network: %v, want ErrNotFound", err)
	}
	if _, ok := drivers.As[drivers.PeerApplier](NewFake(FakeConfig{})); ok {
		t.Error("a local fake has peers")
	}
}
