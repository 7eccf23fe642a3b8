package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"

	"github.com/libcnm/libcnm/internal/link"
)

// plugins is what a container runtime does with CNI: it makes the namespace and has the plugins bridge and host-local
// run for each endpoint, by the library that runtimes use.
type plugins struct {
	cni  *libcni.CNIConfig
	conf *libcni.NetworkConfigList
}

func openCNI(s setup) (contender, error) {
	conf, err := json.Marshal(map[string]any{
		"cniVersion": "1.0.0",
		"name":       "bench",
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
			"ipam": map[string]any{
				"type":    "host-local",
				"dataDir": filepath.Join(s.DataDir, "host-local"),
				"ranges":  []any{[]any{map[string]any{"subnet": subnetText, "gateway": gatewayText}}},
				"routes":  []any{map[string]any{"dst": "0.0.0.0/0"}},
			},
		}},
	})
	if err != nil {
		return nil, err
	}
	list, err := libcni.NetworkConfFromBytes(conf)
	if err != nil {
		return nil, fmt.Errorf("read cni configuration: %w", err)
	}
	cni := libcni.NewCNIConfigWithCacheDir([]string{s.CNIDir}, filepath.Join(s.DataDir, "cni"), nil)
	return &plugins{cni: cni, conf: list}, nil
}

func (p *plugins) attachment(name string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: name, NetNS: filepath.Join("/run/netns", name), IfName: "eth0"}
}

func (p *plugins) Up(ctx context.Context, name string) error {
	at := p.attachment(name)
	if err := link.CreateNS(at.NetNS); err != nil {
		return err
	}
	_, err := p.cni.AddNetworkList(ctx, p.conf, at)
	return err
}

func (p *plugins) Down(ctx context.Context, name string) error {
	at := p.attachment(name)
	if err := p.cni.DelNetworkList(ctx, p.conf, at); err != nil {
		return err
	}
	return link.DeleteNS(at.NetNS)
}

func (p *plugins) Close() error { return nil }
