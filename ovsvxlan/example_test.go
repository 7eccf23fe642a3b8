package ovsvxlan_test

import (
	"fmt"
	"log"
	"net/netip"

	"github.com/libcnm/libcnm/ovsvxlan"
)

func Example() {
	base := ovsvxlan.Base{TunnelPort: 1, TunnelUDPPort: 4789}
	network := ovsvxlan.Network{
		ID: "0b1ce0b1ce0b1ce0b1ce0b1ce0b1ce00", VNI: 100, Internal: true,
		GatewayMAC: ovsvxlan.MAC{0x02, 0, 0, 0, 0, 0x01},
		Subnets:    []ovsvxlan.Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24")}},
	}
	peer := ovsvxlan.Peer{
		ID: "c", Network: network.ID, MAC: ovsvxlan.MAC{0x02, 0, 0, 0, 0, 0x0c},
		Addrs: []netip.Addr{netip.MustParseAddr("10.1.0.12")},
		VTEP:  netip.MustParseAddr("192.0.2.2"),
	}
	was, err := ovsvxlan.CompilePeer(base, network, peer)
	if err != nil {
		log.Fatal(err)
	}
	peer.VTEP = netip.MustParseAddr("192.0.2.3") // it moved to another node
	is, err := ovsvxlan.CompilePeer(base, network, peer)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range ovsvxlan.Diff(was, is).Differences() {
		fmt.Println(d.Object)
	}
	// Output:
	// flow table=tunnel_admit priority=100 ip,dl_src=02:00:00:00:00:0c,nw_src=10.1.0.12,reg0=0x64,tun_src=192.0.2.2
	// flow table=tunnel_admit priority=100 ip,dl_src=02:00:00:00:00:0c,nw_src=10.1.0.12,reg0=0x64,tun_src=192.0.2.3
	// flow table=forward priority=100 dl_dst=02:00:00:00:00:0c,reg0=0x64,reg1=0x2
}
