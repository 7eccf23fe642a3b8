package libcnm

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of a sandbox's lists; resolv.conf(5) reads no more than 3 servers, but the file may carry spare ones.
const (
	maxHosts   = 256
	maxServers = 16
	maxSearch  = 32
	maxSysctls = 64
)

// SandboxOption configures a Sandbox.
type SandboxOption func(*sandboxConfig) error

type sandboxConfig struct {
	netns      string
	hostNetNS  bool
	hostname   string
	domainname string
	dns        DNS
	hosts      []ExtraHost
	sysctls    map[string]string
	cgroup     string
	labels     map[string]string
}

// DNS is what a sandbox's resolv.conf says. The zero value copies the host's, without servers on loopback addresses,
// which a sandbox cannot reach.
type DNS struct {
	Servers []netip.Addr `json:"servers,omitempty"`
	Search  []string     `json:"search,omitempty"`
	Options []string     `json:"options,omitempty"` // as in resolv.conf(5), "ndots:2"
}

// ExtraHost is a line of a sandbox's hosts file.
type ExtraHost struct {
	Name string     `json:"name"`
	Addr netip.Addr `json:"addr"`
}

// WithNetNS uses a namespace that the runtime made and owns, by the path of its file. Deleting the sandbox takes out the
// interfaces that libcnm put there, and leaves the namespace. One that another sandbox has is ErrInUse.
func WithNetNS(path string) SandboxOption {
	return func(c *sandboxConfig) error {
		if err := checkPath("namespace path", path); err != nil {
			return err
		}
		c.netns = filepath.Clean(path)
		return nil
	}
}

// WithHostNetwork uses the namespace that the controller itself runs in, as networks of the host driver need it.
func WithHostNetwork() SandboxOption {
	return func(c *sandboxConfig) error {
		c.hostNetNS = true
		return nil
	}
}

// WithHostname sets the name in the sandbox's hostname and hosts files; by default the container ID, cut to 12
// characters. What follows the first dot is the domain name.
func WithHostname(name string) SandboxOption {
	return func(c *sandboxConfig) error {
		if err := checkName("host name", name); err != nil {
			return err
		}
		c.hostname, c.domainname, _ = strings.Cut(name, ".")
		return nil
	}
}

// resolvWord is what a search domain or resolver option may consist of: nothing that could start a new line or word.
var resolvWord = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,253}$`)

// WithDNS sets the content of the sandbox's resolv.conf. Empty fields come from the host's.
func WithDNS(dns DNS) SandboxOption {
	return func(c *sandboxConfig) error {
		if err := checkDNS(dns); err != nil {
			return err
		}
		c.dns = DNS{Servers: slices.Clone(dns.Servers), Search: slices.Clone(dns.Search), Options: slices.Clone(dns.Options)}
		return nil
	}
}

func checkDNS(dns DNS) error {
	if len(dns.Servers) > maxServers || len(dns.Search) > maxSearch || len(dns.Options) > maxSearch {
		return fmt.Errorf("more than %d DNS servers, or %d search domains or options: %w", maxServers, maxSearch, ErrInvalid)
	}
	for _, s := range dns.Servers {
		if !s.IsValid() || s.IsUnspecified() || s.IsMulticast() {
			return fmt.Errorf("DNS server %s is not a unicast address: %w", printable(s.String()), ErrInvalid)
		}
		if s.Zone() != "" && !resolvWord.MatchString(s.Zone()) {
			return fmt.Errorf("DNS server %s: bad zone: %w", printable(s.String()), ErrInvalid)
		}
	}
	for _, w := range slices.Concat(dns.Search, dns.Options) {
		if !resolvWord.MatchString(w) {
			return fmt.Errorf("DNS search domain or option %s: not allowed in resolv.conf: %w", printable(w), ErrInvalid)
		}
	}
	return nil
}

// WithExtraHosts adds lines to the sandbox's hosts file.
func WithExtraHosts(hosts ...ExtraHost) SandboxOption {
	return func(c *sandboxConfig) error {
		for _, h := range hosts {
			if err := h.check(); err != nil {
				return err
			}
			if len(c.hosts) == maxHosts {
				return fmt.Errorf("more than %d extra hosts: %w", maxHosts, ErrInvalid)
			}
			c.hosts = append(c.hosts, h)
		}
		return nil
	}
}

func (h ExtraHost) check() error {
	if err := checkName("name of a host", h.Name); err != nil {
		return err
	}
	if !h.Addr.IsValid() || h.Addr.Zone() != "" {
		return fmt.Errorf("address %s of host %s: want a plain address: %w", printable(h.Addr.String()), h.Name, ErrInvalid)
	}
	return nil
}

// WithSysctls sets kernel parameters of the sandbox's namespace, "net.ipv4.ip_forward": "1". Only net.* is accepted.
func WithSysctls(sysctls map[string]string) SandboxOption {
	return func(c *sandboxConfig) error {
		if err := checkSysctls(sysctls); err != nil {
			return err
		}
		c.sysctls = maps.Clone(sysctls)
		return nil
	}
}

// WithCgroup puts processes started by Sandbox.Command into a cgroup v2 group, by the absolute path of its directory.
// It is made if absent, and then removed with the sandbox.
func WithCgroup(path string) SandboxOption {
	return func(c *sandboxConfig) (err error) {
		c.cgroup, err = absoluteDir("cgroup", path)
		return err
	}
}

// WithSandboxLabels stores labels with the sandbox, within the bounds of WithLabels.
func WithSandboxLabels(labels map[string]string) SandboxOption {
	return func(c *sandboxConfig) error {
		if err := checkLabels(labels); err != nil {
			return err
		}
		c.labels = maps.Clone(labels)
		return nil
	}
}

// sysctlKey: dotted words below net. A word may hold what interface names may hold, but no slash and no "..".
var (
	sysctlKey   = regexp.MustCompile(`^net(\.[A-Za-z0-9_-]{1,64}){2,8}$`)
	sysctlValue = regexp.MustCompile(`^[A-Za-z0-9_.,: \t-]{1,256}$`)
)

func checkSysctls(sysctls map[string]string) error {
	if len(sysctls) > maxSysctls {
		return fmt.Errorf("%d sysctls, at most %d are allowed: %w", len(sysctls), maxSysctls, ErrInvalid)
	}
	for key, value := range sysctls {
		if !sysctlKey.MatchString(key) {
			return fmt.Errorf("sysctl %s is not a parameter below net.: %w", printable(key), ErrInvalid)
		}
		if !sysctlValue.MatchString(value) {
			return fmt.Errorf("sysctl %s: value %s: %w", key, printable(value), ErrInvalid)
		}
	}
	return nil
}

// JoinOption configures Endpoint.Join.
type JoinOption func(*joinConfig) error

type joinConfig struct {
	ifname   string
	priority int
	sysctls  map[string]string
}

// WithInterfaceName names the endpoint's interface in the sandbox; by default it is the first free of eth0, eth1, ...
func WithInterfaceName(name string) JoinOption {
	return func(c *joinConfig) error {
		if err := checkInterfaceName(name); err != nil {
			return err
		}
		c.ifname = name
		return nil
	}
}

func checkInterfaceName(name string) error {
	if err := checkName("interface name", name); err != nil {
		return err
	}
	// The kernel's IFNAMSIZ is 16 with the final zero; "lo" is every namespace's own, "all" and "default" are
	// directories in /proc/sys/net beside the interfaces.
	if len(name) > 15 || name == "lo" || name == "all" || name == "default" {
		return fmt.Errorf("interface name %s is reserved or longer than 15 characters: %w", name, ErrInvalid)
	}
	return nil
}

// WithGatewayPriority makes the endpoint more (or, below 0, less) likely to hold the sandbox's default gateway; see
// Endpoint.Join for the rule. The default is 0.
func WithGatewayPriority(priority int) JoinOption {
	return func(c *joinConfig) error {
		c.priority = priority
		return nil
	}
}

// WithInterfaceSysctls sets kernel parameters of the endpoint's interface. The word IFNAME stands for its name:
// "net.ipv4.conf.IFNAME.rp_filter": "0".
func WithInterfaceSysctls(sysctls map[string]string) JoinOption {
	return func(c *joinConfig) error {
		if err := checkInterfaceSysctls(sysctls); err != nil {
			return err
		}
		c.sysctls = maps.Clone(sysctls)
		return nil
	}
}

func checkInterfaceSysctls(sysctls map[string]string) error {
	if err := checkSysctls(sysctls); err != nil {
		return err
	}
	for key := range sysctls {
		if !slices.Contains(strings.Split(key, "."), "IFNAME") {
			return fmt.Errorf("sysctl %s does not contain IFNAME: %w", key, ErrInvalid)
		}
	}
	return nil
}
