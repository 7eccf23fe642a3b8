package libcnm

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/ipam"
)

// maxRecordedText bounds the texts of a record that only people read.
const maxRecordedText = 256

// A record is checked when it is read as its content was when it was given: others may write to the stores, and nothing
// they write may reach a rule, a path or the object of another record. A record says where it belongs, so that a copy of
// it under another key is not taken for another object.

func (r networkRecord) check(key string) error {
	switch {
	case !isID(string(r.ID)) || key != keyNetwork(r.ID):
		return fmt.Errorf("it is of network %s: %w", printable(string(r.ID)), ErrInvalid)
	case r.MTU != 0 && (r.MTU < minMTU || r.MTU > maxMTU):
		return fmt.Errorf("MTU %d is not between %d and %d: %w", r.MTU, minMTU, maxMTU, ErrInvalid)
	case r.VNI > maxVNI:
		return fmt.Errorf("VNI %d is not between 1 and %d: %w", r.VNI, maxVNI, ErrInvalid)
	case len(r.Subnets) > maxSubnets:
		return fmt.Errorf("more than %d subnets: %w", maxSubnets, ErrInvalid)
	}
	if err := checkName("network name", r.Name); err != nil {
		return err
	}
	if err := checkName("driver name", r.Driver); err != nil {
		return err
	}
	if err := checkLabels(r.Labels); err != nil {
		return err
	}
	return checkSubnets(r.Subnets)
}

func checkSubnets(list []subnetRecord) error {
	for i, s := range list {
		for _, other := range list[:i] {
			if s.Prefix.Overlaps(other.Prefix) {
				return fmt.Errorf("subnets %s and %s overlap: %w", other.Prefix, s.Prefix, ErrInvalid)
			}
		}
		for name := range s.Aux {
			if err := checkName("name of a reserved address", name); err != nil {
				return err
			}
		}
		if _, err := ipam.NewPool(s.poolConfig()); err != nil {
			return err
		}
	}
	return nil
}

func (r endpointRecord) check(key string) error {
	if !isID(string(r.Network)) || !isID(string(r.ID)) || key != keyEndpoint(r.Network, r.ID) {
		return fmt.Errorf("it is of endpoint %s in network %s: %w", printable(string(r.ID)), printable(string(r.Network)), ErrInvalid)
	}
	if err := checkName("endpoint name", r.Name); err != nil {
		return err
	}
	if len(r.Addrs) > maxSubnets || len(r.Aliases) > maxAliases {
		return fmt.Errorf("more than %d addresses or %d aliases: %w", maxSubnets, maxAliases, ErrInvalid)
	}
	for _, a := range r.Aliases {
		if err := checkName("alias", a); err != nil {
			return err
		}
	}
	if r.Join != nil {
		return r.Join.check()
	}
	return nil
}

func (r *joinRecord) check() error {
	if err := checkName("node name", r.Node); err != nil {
		return err
	}
	if !isID(r.Sandbox) {
		return fmt.Errorf("sandbox ID %s is not 32 hexadecimal digits: %w", printable(r.Sandbox), ErrInvalid)
	}
	if r.Slot < 0 || checkInterfaceName(ethName(r.Slot)) != nil {
		return fmt.Errorf("number %d of an interface: %w", r.Slot, ErrInvalid)
	}
	if err := checkInterfaceName(r.Interface); err != nil {
		return err
	}
	return checkInterfaceSysctls(r.Sysctls)
}

// checkEndpoint refuses an endpoint that the network cannot have.
func (r *networkRecord) checkEndpoint(ep *endpointRecord) error {
	if len(r.Subnets) == 0 && len(ep.Addrs) == 0 && ep.MAC.IsZero() {
		return nil // of a driver without addresses
	}
	return r.driverNetwork().ValidateEndpoint(drivers.Endpoint{ID: ep.ID, Network: ep.Network, MAC: ep.MAC, Addrs: ep.Addrs})
}

func (r claimRecord) check(string) error {
	if r.Endpoint != "" && !isID(string(r.Endpoint)) {
		return fmt.Errorf("endpoint ID %s is not 32 hexadecimal digits: %w", printable(string(r.Endpoint)), ErrInvalid)
	}
	return nil
}

func (r subnetsRecord) check(string) error {
	for _, e := range r.Networks {
		if !isID(string(e.Network)) {
			return fmt.Errorf("network ID %s is not 32 hexadecimal digits: %w", printable(string(e.Network)), ErrInvalid)
		}
		if err := checkName("network name", e.Name); err != nil {
			return err
		}
		for _, p := range e.Subnets {
			if err := ipam.ValidateSubnet(p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r nodeRecord) check(key string) error {
	if err := checkName("node name", r.Name); err != nil {
		return err
	}
	switch {
	case key != keyNodeRecord(r.Name):
		return fmt.Errorf("it is of node %s: %w", r.Name, ErrInvalid)
	case r.VTEP != netip.Addr{} && !canTunnel(r.VTEP):
		return fmt.Errorf("underlay address %s: want an address that other nodes can send to: %w", printable(r.VTEP.String()), ErrInvalid)
	case r.MTU < 0 || r.MTU > maxUnderlayMTU:
		return fmt.Errorf("MTU %d of the underlay: %w", r.MTU, ErrInvalid)
	case !isID(r.Instance):
		return fmt.Errorf("instance %s is not 32 hexadecimal digits: %w", printable(r.Instance), ErrInvalid)
	}
	return checkRecordedTexts(r.Boot, r.Release)
}

// maxUnderlayMTU is the kernel's for its loopback, which may have the node's address.
const maxUnderlayMTU = 1 << 16

// canTunnel reports whether other nodes can send tunnel packets to addr.
func canTunnel(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && addr.Zone() == "" && !addr.Is4In6()
}

func checkRecordedTexts(texts ...string) error {
	for _, text := range texts {
		if len(text) > maxRecordedText || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return fmt.Errorf("text %s: %w", printable(text), ErrInvalid)
		}
	}
	return nil
}

func (r identityRecord) check(string) error {
	if !isID(r.Instance) {
		return fmt.Errorf("instance %s is not 32 hexadecimal digits: %w", printable(r.Instance), ErrInvalid)
	}
	return checkRecordedTexts(r.Boot)
}

func (r sandboxRecord) check(key string) error {
	if !isID(r.ID) || key != keySandbox(r.ID) {
		return fmt.Errorf("it is of sandbox %s: %w", printable(r.ID), ErrInvalid)
	}
	if err := checkName("container ID", r.ContainerID); err != nil {
		return err
	}
	if err := r.checkNS(); err != nil {
		return err
	}
	if err := checkName("host name", r.Hostname); err != nil {
		return err
	}
	// A domain name is what follows a dot of a name, and may begin with any of its characters.
	if err := checkName("domain name", "x"+r.Domainname); err != nil {
		return err
	}
	if r.Cgroup != "" {
		if err := checkPath("cgroup", r.Cgroup); err != nil {
			return err
		}
	}
	if err := checkDNS(r.DNS); err != nil {
		return err
	}
	if len(r.Hosts) > maxHosts {
		return fmt.Errorf("more than %d extra hosts: %w", maxHosts, ErrInvalid)
	}
	for _, h := range r.Hosts {
		if err := h.check(); err != nil {
			return err
		}
	}
	if err := checkSysctls(r.Sysctls); err != nil {
		return err
	}
	return checkLabels(r.Labels)
}

// checkNS refuses a namespace that the sandbox would remove with it and that is not its own.
func (r sandboxRecord) checkNS() error {
	switch {
	case r.HostNetNS:
		return nil
	case r.Owned && filepath.Base(r.NetNS) != r.ID:
		return fmt.Errorf("namespace %s is not named after it: %w", printable(r.NetNS), ErrInvalid)
	}
	return checkPath("namespace path", r.NetNS)
}

func (r refRecord) check(key string) error {
	if strings.HasPrefix(key, dirUsedDrivers) {
		return checkName("driver name", r.ID)
	}
	if !isID(r.ID) {
		return fmt.Errorf("ID %s is not 32 hexadecimal digits: %w", printable(r.ID), ErrInvalid)
	}
	return nil
}
