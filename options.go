package libcnm

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ipam"
	"github.com/libcnm/libcnm/store"
)

// Where a controller keeps its files unless told otherwise.
const (
	DefaultDataDir = "/var/lib/libcnm" // records that must survive a reboot
	DefaultRunDir  = "/run/libcnm"     // namespaces and files that end with the kernel
	DefaultOVSDB   = "unix:/run/openvswitch/db.sock"
)

// defaultCheckInterval is how often a controller compares the host with the desired state when nothing told it to:
// a rule flushed by hand raises no event with every firewall backend, and is to be back within five seconds.
const defaultCheckInterval = 3 * time.Second

// Option configures a NetworkController.
type Option func(*config) error

type config struct {
	dataDir, runDir string
	nodeName        string
	underlay        netip.Addr
	etcd            *clientv3.Config
	cluster         store.Store
	ovsdb           string
	pools           []AddressPool
	drivers         []drivers.Driver
	log             *slog.Logger
	checkInterval   time.Duration
	rebuild         bool
	nodeTTL         time.Duration
}

func newConfig(opts []Option) (*config, error) {
	cfg := &config{
		dataDir: DefaultDataDir, runDir: DefaultRunDir, ovsdb: DefaultOVSDB,
		log: slog.New(slog.DiscardHandler), checkInterval: defaultCheckInterval, nodeTTL: defaultNodeTTL,
	}
	if err := apply(cfg, opts); err != nil {
		return nil, err
	}
	if cfg.etcd != nil && cfg.cluster != nil {
		return nil, fmt.Errorf("both WithEtcd and WithStore are given: %w", ErrInvalid)
	}
	return cfg, nil
}

// apply runs options of any kind over what they configure.
func apply[C any, O ~func(*C) error](cfg *C, opts []O) error {
	for i, opt := range opts {
		if opt == nil {
			return fmt.Errorf("option %d is nil: %w", i+1, ErrInvalid)
		}
		if err := opt(cfg); err != nil {
			return err
		}
	}
	return nil
}

func absoluteDir(what, dir string) (string, error) {
	if err := checkPath(what, dir); err != nil {
		return "", err
	}
	if filepath.Clean(dir) == "/" {
		return "", fmt.Errorf("%s %s is not an absolute path below the root: %w", what, printable(dir), ErrInvalid)
	}
	return filepath.Clean(dir), nil
}

// WithDataDir sets the directory of the local store, by default DefaultDataDir. It is made with mode 0700 if absent. One
// controller at a time can use it.
func WithDataDir(dir string) Option {
	return func(c *config) (err error) {
		c.dataDir, err = absoluteDir("data directory", dir)
		return err
	}
}

// WithRunDir sets the directory of namespaces and of the files for /etc, by default DefaultRunDir. It belongs on a file
// system that a reboot empties. One controller at a time can use it.
func WithRunDir(dir string) Option {
	return func(c *config) (err error) {
		c.runDir, err = absoluteDir("run directory", dir)
		return err
	}
}

// WithNode sets the node's name, unique in the cluster, and its underlay address: where other nodes send tunnel packets.
// Without it the name is the host's name and the address that of the interface of the default route.
func WithNode(name string, underlay netip.Addr) Option {
	return func(c *config) error {
		if err := checkName("node name", name); err != nil {
			return err
		}
		underlay = underlay.Unmap()
		if !canTunnel(underlay) {
			return fmt.Errorf("underlay address %s of node %s: want an address that other nodes can send to: %w",
				printable(underlay.String()), name, ErrInvalid)
		}
		c.nodeName, c.underlay = name, underlay
		return nil
	}
}

// WithEtcd keeps the records of cluster-wide networks in etcd, below the prefix /libcnm/. TLS, user and password are
// those of cfg. Without it (and without WithStore) they are kept in the local store and the cluster is this node.
func WithEtcd(cfg clientv3.Config) Option {
	return func(c *config) error {
		if len(cfg.Endpoints) == 0 || slices.Contains(cfg.Endpoints, "") {
			return fmt.Errorf("etcd configuration without endpoints, or with an empty one: %w", ErrInvalid)
		}
		for _, e := range cfg.Endpoints {
			if strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return fmt.Errorf("etcd endpoint %s has characters of no URL: %w", printable(e), ErrInvalid)
			}
		}
		c.etcd = &cfg
		return nil
	}
}

// WithStore keeps the records of cluster-wide networks in s, which passes store/storetest. The caller closes it, after
// the controller.
func WithStore(s store.Store) Option {
	return func(c *config) error {
		if s == nil {
			return fmt.Errorf("store is nil: %w", ErrInvalid)
		}
		c.cluster = s
		return nil
	}
}

// WithOVSDB sets the endpoint of the Open vSwitch database, by default DefaultOVSDB: unix: and the absolute path of a
// socket, as flows need a switch of this host. It is connected to when the first ovs-vxlan network is used on this node.
func WithOVSDB(endpoint string) Option {
	return func(c *config) error {
		path, ok := strings.CutPrefix(endpoint, "unix:")
		if !ok {
			return fmt.Errorf("OVSDB endpoint %s does not begin with unix: %w", printable(endpoint), ErrInvalid)
		}
		if err := checkPath("OVSDB endpoint", path); err != nil {
			return err
		}
		c.ovsdb = endpoint
		return nil
	}
}

// AddressPool is a range from which networks made without WithSubnet get theirs: prefixes of length Size out of Base.
type AddressPool = ipam.AddressPool

// WithAddressPools replaces the default pools, ipam.DefaultPools. Pools are used in the given order, those of each family
// by themselves; networks that are given no subnet get none of a family without pools.
func WithAddressPools(pools ...AddressPool) Option {
	return func(c *config) error {
		if len(pools) == 0 {
			return fmt.Errorf("no address pool given: %w", ErrInvalid)
		}
		if err := ipam.ValidatePools(pools); err != nil {
			return err
		}
		c.pools = slices.Clone(pools)
		return nil
	}
}

// WithDriver registers a driver beside the built-in ones, or instead of the built-in one of the same name. New takes it
// over: it is closed with the controller, and also if New fails for another reason than its options.
func WithDriver(d drivers.Driver) Option {
	return func(c *config) error {
		if d == nil {
			return fmt.Errorf("driver is nil: %w", ErrInvalid)
		}
		if err := checkName("driver name", d.Info().Name); err != nil {
			return err
		}
		if slices.ContainsFunc(c.drivers, func(other drivers.Driver) bool { return other.Info().Name == d.Info().Name }) {
			return fmt.Errorf("driver %s is given twice: %w", d.Info().Name, ErrInvalid)
		}
		c.drivers = append(c.drivers, d)
		return nil
	}
}

// WithLogger sets where the controller reports what happens without a caller: repairs, peers, lost connections. By
// default nowhere.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return fmt.Errorf("logger is nil: %w", ErrInvalid)
		}
		c.log = log
		return nil
	}
}

// WithCheckInterval sets how often the controller compares the host with the desired state when nothing told it to, by
// default every 3 s. It learns of most damage by itself, and at once.
func WithCheckInterval(d time.Duration) Option {
	return func(c *config) error {
		if d < 100*time.Millisecond {
			return fmt.Errorf("check interval %s is below 100ms: %w", d, ErrInvalid)
		}
		c.checkInterval = d
		return nil
	}
}

// WithNodeTTL sets how long this node may show no sign of life before its lease in the cluster ends, by default 30 s: then
// its endpoints can be released, and nodes that were given the same TTL stop sending to it a third of that later. Below
// 10 s, a slow restart of the controller or an election of etcd may look like the death of the node. The store may round
// it up.
func WithNodeTTL(ttl time.Duration) Option {
	return func(c *config) error {
		if err := store.CheckTTL(ttl); err != nil {
			return fmt.Errorf("node TTL: %w", err)
		}
		c.nodeTTL = ttl
		return nil
	}
}
