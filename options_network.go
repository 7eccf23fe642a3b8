package libcnm

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/libcnm/libcnm/drivers"
)

// Bounds on lists that callers give, so that a record stays far below etcd's default limit of 1.5 MiB per request.
const (
	maxLabels  = 64
	maxSubnets = 16
	maxAliases = 64
	maxPorts   = 1024
	maxVNI     = 1<<24 - 1 // RFC 7348, section 5
	minMTU     = 68        // RFC 791
	minMTU6    = 1280      // RFC 8200, section 5
	maxMTU     = 65535
)

// NetworkOption configures a Network.
type NetworkOption func(*networkConfig) error

type networkConfig struct {
	subnets  []subnetRecord
	gateways []netip.Addr
	size4    int
	noIPv6   bool
	internal bool
	mtu      int
	vni      uint32
	labels   map[string]string
	driver   string // the driver the options are for
	options  json.RawMessage
}

// SubnetOption refines one subnet of WithSubnet.
type SubnetOption func(*subnetRecord) error

// WithSubnet gives the network a subnet. It may be used several times: an endpoint gets one address of each family,
// from the first subnet that has one left. Without any the network gets one IPv4 and one IPv6 subnet from the address
// pools.
func WithSubnet(prefix netip.Prefix, opts ...SubnetOption) NetworkOption {
	return func(c *networkConfig) error {
		if len(c.subnets) == maxSubnets {
			return fmt.Errorf("more than %d subnets: %w", maxSubnets, ErrInvalid)
		}
		s := subnetRecord{Prefix: prefix}
		if err := apply(&s, opts); err != nil {
			return fmt.Errorf("subnet %s: %w", prefix, err)
		}
		c.subnets = append(c.subnets, s)
		return nil
	}
}

// SubnetRange lets only addresses of sub be chosen for endpoints. WithIP may still ask for any address of the subnet.
func SubnetRange(sub netip.Prefix) SubnetOption {
	return func(s *subnetRecord) error {
		s.Range = sub
		return nil
	}
}

// SubnetGateway sets the subnet's gateway; by default it is the first usable address.
func SubnetGateway(addr netip.Addr) SubnetOption {
	return func(s *subnetRecord) error {
		s.Gateway = addr
		return checkNoZone("gateway", addr)
	}
}

// checkNoZone refuses an address with a zone, which is a text of any kind.
func checkNoZone(what string, addr netip.Addr) error {
	if addr.Zone() != "" {
		return fmt.Errorf("%s %s: want an address without a zone: %w", what, printable(addr.String()), ErrInvalid)
	}
	return nil
}

// SubnetReserve keeps addr from being given to an endpoint: something else has it, for which name stands.
func SubnetReserve(name string, addr netip.Addr) SubnetOption {
	return func(s *subnetRecord) error {
		if err := checkName("name of a reserved address", name); err != nil {
			return err
		}
		if s.Aux == nil {
			s.Aux = make(map[string]netip.Addr)
		}
		if _, dup := s.Aux[name]; dup {
			return fmt.Errorf("reserved address %s is given twice: %w", name, ErrInvalid)
		}
		s.Aux[name] = addr
		return checkNoZone("reserved address", addr)
	}
}

// WithSubnetSize sets the prefix length of the IPv4 subnet that the network gets from the address pools.
func WithSubnetSize(bits int) NetworkOption {
	return func(c *networkConfig) error {
		if bits < 8 || bits > 30 {
			return fmt.Errorf("subnet size /%d is not between /8 and /30: %w", bits, ErrInvalid)
		}
		c.size4 = bits
		return nil
	}
}

// WithoutIPv6 gives the network no IPv6 subnet from the address pools.
func WithoutIPv6() NetworkOption {
	return func(c *networkConfig) error {
		c.noIPv6 = true
		return nil
	}
}

// WithGateway sets the gateway of the subnet that contains addr.
func WithGateway(addr netip.Addr) NetworkOption {
	return func(c *networkConfig) error {
		c.gateways = append(c.gateways, addr)
		return checkNoZone("gateway", addr)
	}
}

// WithInternal makes a network whose endpoints reach each other and nothing else.
func WithInternal() NetworkOption {
	return func(c *networkConfig) error {
		c.internal = true
		return nil
	}
}

// WithMTU sets the network's MTU in bytes, instead of the largest that the host's underlay carries.
func WithMTU(bytes int) NetworkOption {
	return func(c *networkConfig) error {
		if bytes < minMTU || bytes > maxMTU {
			return fmt.Errorf("MTU %d is not between %d and %d: %w", bytes, minMTU, maxMTU, ErrInvalid)
		}
		c.mtu = bytes
		return nil
	}
}

// WithVNI sets the VXLAN network identifier, 1 to 2^24-1, for drivers that use one. By default a free one is chosen.
func WithVNI(vni uint32) NetworkOption {
	return func(c *networkConfig) error {
		if vni == 0 || vni > maxVNI {
			return fmt.Errorf("VNI %d is not between 1 and %d: %w", vni, maxVNI, ErrInvalid)
		}
		c.vni = vni
		return nil
	}
}

// WithLabels stores labels with the network. At most 64; keys of up to 128 bytes, values of up to 1,024.
func WithLabels(labels map[string]string) NetworkOption {
	return func(c *networkConfig) error {
		if err := checkLabels(labels); err != nil {
			return err
		}
		c.labels = maps.Clone(labels)
		return nil
	}
}

// WithDriverOptions sets the driver's own options, such as bridge.Options. They must be those of the network's driver.
func WithDriverOptions(o drivers.Options) NetworkOption {
	return func(c *networkConfig) error {
		if o == nil {
			return fmt.Errorf("driver options are nil: %w", ErrInvalid)
		}
		raw, err := drivers.EncodeOptions(o)
		if err != nil {
			return err
		}
		return WithRawDriverOptions(o.DriverName(), raw)(c)
	}
}

// WithRawDriverOptions is WithDriverOptions for callers that carry the options as JSON. An unknown key is an error that
// names it.
func WithRawDriverOptions(driver string, raw json.RawMessage) NetworkOption {
	return func(c *networkConfig) error {
		if c.options != nil {
			return fmt.Errorf("driver options are given twice: %w", ErrInvalid)
		}
		c.driver, c.options = driver, slices.Clone(raw)
		return nil
	}
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%d labels, at most %d are allowed: %w", len(labels), maxLabels, ErrInvalid)
	}
	for key, value := range labels {
		if key == "" || len(key) > 128 || len(value) > 1024 {
			return fmt.Errorf("label %s: the key must have 1 to 128 bytes, the value at most 1024: %w", printable(key), ErrInvalid)
		}
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return fmt.Errorf("label %s: not UTF-8: %w", printable(key), ErrInvalid)
		}
	}
	return nil
}

// EndpointOption configures an Endpoint.
type EndpointOption func(*endpointConfig) error

type endpointConfig struct {
	addrs   []netip.Addr
	mac     drivers.MAC
	ports   []PortBinding
	aliases []string
}

// WithIP asks for addresses, at most one of each subnet. A family for which none is asked gets one chosen.
func WithIP(addrs ...netip.Addr) EndpointOption {
	return func(c *endpointConfig) error {
		for _, a := range addrs {
			if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
				return fmt.Errorf("address %s: want a plain IPv4 or IPv6 address: %w", printable(a.String()), ErrInvalid)
			}
			if len(c.addrs) == maxSubnets {
				return fmt.Errorf("more than %d addresses: %w", maxSubnets, ErrInvalid)
			}
			c.addrs = append(c.addrs, a)
		}
		return nil
	}
}

// WithMAC asks for a MAC address, unicast and unused in the network. By default a locally administered one is chosen at
// random: never derived from the IP address, so that a reused address does not meet stale neighbour entries.
func WithMAC(mac net.HardwareAddr) EndpointOption {
	return func(c *endpointConfig) (err error) {
		c.mac, err = drivers.ParseMAC(mac.String())
		return err
	}
}

// PortBinding publishes a port of an endpoint on the host.
type PortBinding struct {
	Protocol string     // "tcp", "udp" or "sctp"
	Port     uint16     // the endpoint's port
	HostIP   netip.Addr // zero: all of the host's addresses
	HostPort uint16     // 0: a free one is chosen
}

// WithPorts publishes ports. Drivers whose Info.Ports is false refuse with ErrUnsupported; of the built-in ones, so do
// all in this version.
func WithPorts(ports ...PortBinding) EndpointOption {
	return func(c *endpointConfig) error {
		for _, p := range ports {
			if p.Protocol != "tcp" && p.Protocol != "udp" && p.Protocol != "sctp" {
				return fmt.Errorf("protocol %s of a port: want tcp, udp or sctp: %w", printable(p.Protocol), ErrInvalid)
			}
			if p.Port == 0 {
				return fmt.Errorf("port 0 cannot be published: %w", ErrInvalid)
			}
			if len(c.ports) == maxPorts {
				return fmt.Errorf("more than %d ports: %w", maxPorts, ErrInvalid)
			}
			c.ports = append(c.ports, p)
		}
		return nil
	}
}

// WithAliases gives the endpoint further names in its network.
func WithAliases(aliases ...string) EndpointOption {
	return func(c *endpointConfig) error {
		for _, a := range aliases {
			if err := checkName("alias", a); err != nil {
				return err
			}
			if len(c.aliases) == maxAliases {
				return fmt.Errorf("more than %d aliases: %w", maxAliases, ErrInvalid)
			}
			c.aliases = append(c.aliases, a)
		}
		return nil
	}
}

// DeleteOption configures Endpoint.Delete.
type DeleteOption func(*deleteConfig) error

type deleteConfig struct{ force bool }

// WithForce deletes an endpoint that is still joined: it leaves first. One that is joined on another node is taken out
// of the store at once, and that node removes it from its sandbox when it learns of it.
func WithForce() DeleteOption {
	return func(c *deleteConfig) error {
		c.force = true
		return nil
	}
}
