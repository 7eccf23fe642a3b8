package libcnm

import (
	"net/netip"
	"strconv"

	"github.com/libcnm/libcnm/drivers"
)

// The layout of the stores. Names and addresses have keys of their own, written in the same commit as the object they
// belong to: the guard "this key is absent" is what makes a name or an address unique, among any number of nodes.
//
//	networks/<id>                     networkRecord
//	network-names/<name>              the network's id
//	network-singletons/<driver>       the network's id, for drivers that allow one network only
//	vnis/<number>                     the network's id
//	subnets                           subnetsRecord: all subnets that must not overlap, in one record
//	endpoints/<network>/<id>          endpointRecord
//	endpoint-names/<network>/<name>   the endpoint's id
//	macs/<network>/<mac>              the endpoint's id
//	claims/<network>/<address>        claimRecord: who has the address, or that it was freed
//	members/<node>/<network>/<id>     the endpoint's id: it is joined on that node
//	nodes/<name>                      nodeRecord, on a lease
//
// and, only in the local store:
//
//	node                              identityRecord
//	sandboxes/<id>                    sandboxRecord
//	sandbox-containers/<container>    the sandbox's id
//	drivers/<name>                    the driver has been used on this host
const (
	keyNode     = "node"
	keySubnets  = "subnets"
	dirNetworks = "networks/"
	dirNodes    = "nodes/"
	dirSandbox  = "sandboxes/"

	dirAllMembers = "members/"

	dirUsedDrivers = "drivers/"
)

func keyNetwork(id drivers.NetworkID) string  { return dirNetworks + string(id) }
func keyNetworkName(name string) string       { return "network-names/" + name }
func keySingleton(driver string) string       { return "network-singletons/" + driver }
func keyVNI(vni uint32) string                { return "vnis/" + strconv.FormatUint(uint64(vni), 10) }
func dirEndpoints(n drivers.NetworkID) string { return "endpoints/" + string(n) + "/" }
func dirClaims(n drivers.NetworkID) string    { return "claims/" + string(n) + "/" }
func keySandbox(id string) string             { return dirSandbox + id }
func keyContainer(containerID string) string  { return "sandbox-containers/" + containerID }
func keyUsedDriver(name string) string        { return dirUsedDrivers + name }
func keyNodeRecord(name string) string        { return dirNodes + name }

func keyEndpoint(n drivers.NetworkID, id drivers.EndpointID) string {
	return dirEndpoints(n) + string(id)
}

func keyEndpointName(n drivers.NetworkID, name string) string {
	return "endpoint-names/" + string(n) + "/" + name
}

func keyMAC(n drivers.NetworkID, mac drivers.MAC) string {
	return "macs/" + string(n) + "/" + mac.String()
}

func dirMembers(node string) string { return dirAllMembers + node + "/" }

func keyMember(node string, n drivers.NetworkID, id drivers.EndpointID) string {
	return dirMembers(node) + string(n) + "/" + string(id)
}

func keyClaim(n drivers.NetworkID, addr netip.Addr) string {
	return dirClaims(n) + addr.String()
}
