package ipam_test

import (
	"fmt"
	"net/netip"

	"github.com/libcnm/libcnm/ipam"
)

func Example() {
	taken := []ipam.Taken{{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Culprit: "host route dev docker0"}}
	subnet, err := ipam.Pick(ipam.DefaultPools([5]byte{}), taken, ipam.IPv4)
	if err != nil {
		fmt.Println(err)
		return
	}
	gateway, err := ipam.Gateway(subnet, netip.Addr{})
	if err != nil {
		fmt.Println(err)
		return
	}
	pool, err := ipam.NewPool(ipam.Config{Subnet: subnet, Gateway: gateway})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("subnet", subnet, "gateway", gateway)

	c, err := pool.Candidate(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Here the store commits the claim, at revision 7.
	if err := pool.Learn(ipam.Claim{Addr: c.Addr, State: ipam.Owned, Rev: 7}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("endpoint", c.Addr)
	_, err = pool.Static(c.Addr)
	fmt.Println(err)
	// Output:
	// subnet 172.18.0.0/24 gateway 172.18.0.1
	// endpoint 172.18.0.2
	// address 172.18.0.2: in use in pool 172.18.0.0/24: already exists
}
