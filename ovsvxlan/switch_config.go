package ovsvxlan

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Datapath is the part of Open vSwitch that forwards frames.
type Datapath string

// The datapaths.
const (
	DatapathAuto   Datapath = ""       // system where the kernel has it, else netdev
	DatapathSystem Datapath = "system" // the kernel module
	DatapathNetdev Datapath = "netdev" // ovs-vswitchd itself; the VTEP address must be on an OVS netdev bridge
)

// Config is what a Switch needs to know of its node. Only VTEP has no default.
type Config struct {
	OVSDB         string     // unix:PATH of ovsdb-server; default DefaultOVSDB
	RunDir        string     // where ovs-vswitchd has its sockets; default: the directory of the OVSDB socket
	Bridge        string     // default DefaultBridge
	Datapath      Datapath   // default DatapathAuto; an existing bridge of ours keeps the one it has
	VTEP          netip.Addr // this node's tunnel address
	TunnelUDPPort uint16     // default DefaultTunnelUDPPort; the same on every node
	Gateway       Gateway    // zero: no network has egress
	Logger        *slog.Logger

	// DeviceIndex returns the index of the host's network device of that name, 0 if there is none. Default: by a list of
	// all devices, which takes the longer the more there are.
	DeviceIndex func(ctx context.Context, name string) (int, error)
}

// Gateway is the way out of every network on this node: a veth pair with one end on the bridge and one on the host.
type Gateway struct {
	Interface string // the bridge's end; must exist before the first ApplyNetwork
	MAC       MAC    // the bridge's end answers with it
	HostMAC   MAC    // of the host's end
	// Transit4 and Transit6 are the ranges of node-local addresses that stand for networks towards the host, which
	// must route them to its end. HostAddr says which address of each is the host's. At most maxZone are used.
	Transit4, Transit6 netip.Prefix
}

// Defaults of Config.
const (
	DefaultOVSDB         = "unix:/run/openvswitch/db.sock"
	DefaultBridge        = "cnm-int"
	DefaultTunnelUDPPort = 4789 // RFC 7348, section 5
)

// linkName is what this package accepts as the name of a bridge or device: no wildcard, no path, no format verb.
var linkName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)

// complete fills in the defaults and refuses what cannot work.
func (c Config) complete() (Config, error) {
	if c.OVSDB == "" {
		c.OVSDB = DefaultOVSDB
	}
	path, ok := strings.CutPrefix(c.OVSDB, "unix:")
	if !ok || !filepath.IsAbs(path) {
		return c, fmt.Errorf("OVSDB endpoint %q: want unix: and an absolute path, flows need a local switch: %w", c.OVSDB, errdefs.ErrInvalid)
	}
	if c.RunDir == "" {
		c.RunDir = filepath.Dir(path)
	}
	if !filepath.IsAbs(c.RunDir) {
		return c, fmt.Errorf("run directory %q: not an absolute path: %w", c.RunDir, errdefs.ErrInvalid)
	}
	if c.Bridge == "" {
		c.Bridge = DefaultBridge
	}
	if c.TunnelUDPPort == 0 {
		c.TunnelUDPPort = DefaultTunnelUDPPort
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.DeviceIndex == nil {
		c.DeviceIndex = func(_ context.Context, name string) (int, error) {
			indexes, err := deviceIndexes()
			return indexes[name], err
		}
	}
	for _, name := range []string{c.Bridge, c.tunnelName(), c.Gateway.Interface} {
		if name != "" && !linkName.MatchString(name) {
			return c, fmt.Errorf("interface name %q: want 1 to 15 letters, digits, dots, dashes: %w", name, errdefs.ErrInvalid)
		}
	}
	switch c.Datapath {
	case DatapathAuto, DatapathSystem, DatapathNetdev:
	default:
		return c, fmt.Errorf("datapath %q: want system, netdev or none: %w", c.Datapath, errdefs.ErrInvalid)
	}
	if err := validVTEP(c.VTEP); err != nil {
		return c, err
	}
	return c, c.base().Validate()
}

func (c Config) tunnelName() string { return c.Bridge + "-vxlan" }

// The bridge's own ports have numbers of their own, and those of endpoints start well above.
const (
	tunnelNumber  = 1
	gatewayNumber = 2
	firstNumber   = 16
	lastNumber    = MaxPort
)

func (c Config) base() Base {
	b := Base{TunnelPort: tunnelNumber, TunnelUDPPort: c.TunnelUDPPort}
	if g := c.Gateway; g.Interface != "" {
		b.GatewayPort, b.GatewayMAC, b.GatewayHostMAC = gatewayNumber, g.MAC, g.HostMAC
		b.TransitPrefix4, b.TransitPrefix6 = g.Transit4, g.Transit6
	}
	return b
}

func (c Config) tunnelPort() wantPort {
	return wantPort{mark: markTunnel, kind: "vxlan", number: tunnelNumber, options: map[string]string{
		"remote_ip": "flow",
		"key":       "flow",
		// Peers admit tunnels by their source address, so it must not depend on the route taken.
		"local_ip": c.VTEP.String(),
		"dst_port": fmt.Sprint(c.TunnelUDPPort),
		"csum":     "true", // lets the receiver merge segments: twice the throughput over IPv4
	}}
}
