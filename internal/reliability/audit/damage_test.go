package audit_test

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/libcnm/libcnm/internal/reliability/audit"
	"github.com/libcnm/libcnm/internal/testutil/rig"
)

// damage is something to do to the host, and what must be found then.
type damage struct {
	kind     audit.Kind
	object   string
	do, undo string // shell; names with a $ are those of the scene
}

// hostDamages can be undone, each by itself.
var hostDamages = []damage{
	{audit.Wrong, "link $BRIDGE", "ip link set $BRIDGE mtu 1400", "ip link set $BRIDGE mtu 1500"},
	{audit.Wrong, "link $BRIDGE", "ip link set $BRIDGE address 02:00:00:00:00:01", "ip link set $BRIDGE address $(cat /run/mac)"},
	{audit.Missing, "address 10.1.0.1/24", "ip addr del 10.1.0.1/24 dev $BRIDGE", "ip addr add 10.1.0.1/24 dev $BRIDGE"},
	{audit.Missing, "address fd01::1/64", "ip addr del fd01::1/64 dev $BRIDGE", "ip addr add fd01::1/64 dev $BRIDGE nodad"},
	{audit.Stray, "address 10.9.9.9/24", "ip addr add 10.9.9.9/24 dev $BRIDGE", "ip addr del 10.9.9.9/24 dev $BRIDGE"},
	{audit.Stray, "address fd09::9/64", "ip addr add fd09::9/64 dev $BRIDGE", "ip addr del fd09::9/64 dev $BRIDGE"},
	{audit.Wrong, "sysctl net/ipv6/conf/$BRIDGE/accept_ra", "echo 1 >/proc/sys/net/ipv6/conf/$BRIDGE/accept_ra",
		"echo 0 >/proc/sys/net/ipv6/conf/$BRIDGE/accept_ra"},
	{audit.Wrong, "sysctl net/ipv4/ip_forward", "echo 0 >/proc/sys/net/ipv4/ip_forward", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
	{audit.Wrong, "sysctl net/ipv6/conf/all/forwarding", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding",
		"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"},
	{audit.Wrong, "link $VETHA", "ip link set $VETHA down", "ip link set $VETHA up"},
	{audit.Wrong, "link $VETHA", "ip link set $VETHA nomaster", "ip link set $VETHA master $BRIDGE"},
	{audit.Wrong, "link $VETHA", "ip link set $VETHA alias other", "ip link set $VETHA alias libcnm:bridge:endpoint:$WEB/$EPA"},
	{audit.Wrong, "link $VETHB", "ip link set $VETHB nomaster", "ip link set $VETHB master cnm-sink"},
	{audit.Wrong, "sysctl net/ipv6/conf/$VETHA/disable_ipv6", "echo 0 >/proc/sys/net/ipv6/conf/$VETHA/disable_ipv6",
		"echo 1 >/proc/sys/net/ipv6/conf/$VETHA/disable_ipv6"},
	{audit.Stray, "link cnmvstray", "ip link add cnmvstray type veth peer name end; ip link set cnmvstray alias libcnm:bridge:endpoint:1/2",
		"ip link del cnmvstray"},
	{audit.Missing, "address 169.254.64.1/18", "ip addr del 169.254.64.1/18 dev cnm-gw0; ip route show proto 207 >/run/routes",
		"ip addr add 169.254.64.1/18 dev cnm-gw0; echo 169.254.64.2 dev cnm-gw0 scope link mtu 1300 | xargs ip route replace proto 207"},
	{audit.Wrong, "link cnm-sink", "ip link set cnm-sink up", "ip link set cnm-sink down"},
	{audit.Stray, "route 10.88.0.0/16", "ip route add 10.88.0.0/16 dev cnm-gw0 proto 207", "ip route del 10.88.0.0/16"},
	{audit.Missing, "route 169.254.64.2/32", "ip route del 169.254.64.2", "ip route add 169.254.64.2 dev cnm-gw0 scope link mtu 1300 proto 207"},
	{audit.Wrong, "route 169.254.64.2/32", "ip route replace 169.254.64.2 dev cnm-gw0 scope link mtu 1200 proto 207",
		"ip route replace 169.254.64.2 dev cnm-gw0 scope link mtu 1300 proto 207"},
	{audit.Missing, "routing rule 5207 from $BRIDGE to 10.1.0.0/24", "ip rule del iif $BRIDGE to 10.1.0.0/24",
		"ip rule add iif $BRIDGE to 10.1.0.0/24 lookup main priority 5207 protocol 207"},
	{audit.Missing, "routing rule 5208 from cnm-gw0 to ::/0", "ip -6 rule del iif cnm-gw0", "ip -6 rule add iif cnm-gw0 lookup 6516333 priority 5208 protocol 207"},
	{audit.Stray, "routing rule 5208 from lost to 0.0.0.0/0", "ip rule add iif lost lookup 6516333 priority 5208 protocol 207", "ip rule del iif lost"},
	{audit.Missing, "blackhole fd01::/64", "ip -6 route del blackhole fd01::/64 table 6516333", "ip -6 route add blackhole fd01::/64 table 6516333 proto 207"},
	{audit.Stray, "blackhole 10.77.0.0/16", "ip route add blackhole 10.77.0.0/16 table 6516333 proto 207", "ip route del blackhole 10.77.0.0/16 table 6516333"},

	{audit.Wrong, "link eth0 in sandbox $BOX", "$INSIDE ip link set eth0 mtu 1400", "$INSIDE ip link set eth0 mtu 1500"},
	{audit.Wrong, "link eth0 in sandbox $BOX", "$INSIDE ip link set eth0 address 02:00:00:00:00:01", "$INSIDE ip link set eth0 address $MACA"},
	{audit.Wrong, "link lo in sandbox $BOX", "$INSIDE ip link set lo down", "$INSIDE ip link set lo up"},
	{audit.Missing, "address 10.1.0.2/24", "$INSIDE ip addr del 10.1.0.2/24 dev eth0",
		"$INSIDE ip addr add 10.1.0.2/24 dev eth0; $INSIDE ip route add default via 10.1.0.1 dev eth0 proto 207"},
	{audit.Stray, "address 10.1.0.77/24", "$INSIDE ip addr add 10.1.0.77/24 dev eth0", "$INSIDE ip addr del 10.1.0.77/24 dev eth0"},
	{audit.Stray, "address fd05::77/64", "$INSIDE ip addr add fd05::77/64 dev eth1", "$INSIDE ip addr del fd05::77/64 dev eth1"},
	{audit.Stray, "route 10.77.0.0/16", "$INSIDE ip route add 10.77.0.0/16 dev eth0 proto 207", "$INSIDE ip route del 10.77.0.0/16"},
	{audit.Missing, "route 0.0.0.0/0", "$INSIDE ip route del default", "$INSIDE ip route add default via 10.1.0.1 dev eth0 proto 207"},
	{audit.Missing, "route ::/0", "$INSIDE ip -6 route del default", "$INSIDE ip -6 route add default via fd01::1 dev eth0 proto 207"},
	{audit.Wrong, "sysctl net/ipv6/conf/eth1/accept_ra", "$INSIDE sh -c 'echo 2 >/proc/sys/net/ipv6/conf/eth1/accept_ra'",
		"$INSIDE sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth1/accept_ra'"},

	{audit.Stray, "file /run/libcnm/netns/lost", "touch /run/libcnm/netns/lost", "rm /run/libcnm/netns/lost"},
	{audit.Stray, "file /run/libcnm/sandboxes/lost", "mkdir /run/libcnm/sandboxes/lost", "rmdir /run/libcnm/sandboxes/lost"},
	{audit.Stray, "file /run/libcnm/sandboxes/$BOX/hosts.tmp", "touch /run/libcnm/sandboxes/$BOX/hosts.tmp", "rm /run/libcnm/sandboxes/$BOX/hosts.tmp"},
	{audit.Stray, "file /var/lib/libcnm/.libcnm.db.new-1", "touch /var/lib/libcnm/.libcnm.db.new-1", "rm /var/lib/libcnm/.libcnm.db.new-1"},
	{audit.Stray, "mount /run/libcnm/netns/lost", "touch /run/libcnm/netns/lost; mount --bind /run/libcnm/netns/$BOX /run/libcnm/netns/lost",
		"umount /run/libcnm/netns/lost; rm /run/libcnm/netns/lost"},
	{audit.Duplicate, "mount /run/libcnm/netns/$BOX", "mount --bind /run/libcnm/netns/$BOX /run/libcnm/netns/$BOX", "umount /run/libcnm/netns/$BOX"},
	{audit.Missing, "file /run/libcnm/sandboxes/$BOX/hosts", "mv /run/libcnm/sandboxes/$BOX/hosts /run/kept", "mv /run/kept /run/libcnm/sandboxes/$BOX/hosts"},
	{audit.Wrong, "file /run/libcnm/sandboxes/$BOX/hosts", "F=/run/libcnm/sandboxes/$BOX/hosts; cp $F /run/kept; echo 1.2.3.4 x >>$F",
		"cp /run/kept /run/libcnm/sandboxes/$BOX/hosts"},
}

// switchDamages are those of Open vSwitch.
var switchDamages = []damage{
	{audit.Stray, "port lost", "ovs-vsctl add-port cnm-int lost -- set interface lost type=internal", "ovs-vsctl del-port lost"},
	{audit.Stray, "port lost", "ovs-vsctl add-port br-phy lost -- set interface lost type=internal -- set port lost external_ids:libcnm=endpoint",
		"ovs-vsctl del-port lost"},
	{audit.Stray, "bridge lost", "ovs-vsctl add-br lost -- set bridge lost datapath_type=netdev external_ids:libcnm=bridge", "ovs-vsctl del-br lost"},
	{audit.Wrong, "port $VETHB", "ovs-vsctl set interface $VETHB external_ids:libcnm-mac=x", `ovs-vsctl set interface $VETHB external_ids:libcnm-mac='"$MACB"'`},
	{audit.Wrong, "port $VETHB", "ovs-vsctl remove port $VETHB external_ids libcnm", "ovs-vsctl set port $VETHB external_ids:libcnm=endpoint"},
	{audit.Wrong, "port cnm-int-vxlan", "ovs-vsctl set interface cnm-int-vxlan options:csum=false", "ovs-vsctl set interface cnm-int-vxlan options:csum=true"},
	{audit.Wrong, "bridge cnm-int", "ovs-vsctl set bridge cnm-int protocols=OpenFlow13,OpenFlow15", "ovs-vsctl set bridge cnm-int protocols=OpenFlow13,OpenFlow14,OpenFlow15"},
	{audit.Stray, "bridge cnm-int", "ovs-vsctl set bridge cnm-int external_ids:libcnm-zone-0=77", "ovs-vsctl remove bridge cnm-int external_ids libcnm-zone-0"},
	{audit.Duplicate, "bridge cnm-int", "ovs-vsctl set bridge cnm-int external_ids:libcnm-zone-0=1", "ovs-vsctl remove bridge cnm-int external_ids libcnm-zone-0"},
	{audit.Stray, "flow table=classify priority=7", "ovs-ofctl -O OpenFlow15 add-flow cnm-int table=0,priority=7,actions=drop",
		"ovs-ofctl -O OpenFlow15 --strict del-flows cnm-int table=0,priority=7"},
	{audit.Missing, "flow table=", "ovs-ofctl -O OpenFlow15 --no-stats --no-names dump-flows cnm-int | grep 10.5.0.2 >/run/flows; ovs-ofctl -O OpenFlow15 del-flows cnm-int ip,nw_dst=10.5.0.2",
		"ovs-ofctl -O OpenFlow15 add-flows cnm-int /run/flows"},
	{audit.Stray, "group 5", "ovs-ofctl -O OpenFlow15 add-group cnm-int group_id=5,type=all,bucket=actions=output:1",
		"ovs-ofctl -O OpenFlow15 del-groups cnm-int group_id=5"},
}

// ruleDamages are for both families, by the name of the program.
var ruleDamages = []damage{
	{audit.Stray, "rule of $FAMILY filter CNM-EGRESS", "$TABLES -A CNM-EGRESS -j ACCEPT", "$TABLES -D CNM-EGRESS -j ACCEPT"},
	{audit.Stray, "rule of $FAMILY filter OUTPUT", "$TABLES -A OUTPUT -j CNM-INSIDE", "$TABLES -D OUTPUT -j CNM-INSIDE"},
	{audit.Stray, "rule of $FAMILY raw OUTPUT", "$TABLES -t raw -A OUTPUT -m comment --comment libcnm:bridge:1 -j ACCEPT",
		"$TABLES -t raw -D OUTPUT -m comment --comment libcnm:bridge:1 -j ACCEPT"},
	{audit.Stray, "chain $FAMILY mangle CNM-LOST", "$TABLES -t mangle -N CNM-LOST", "$TABLES -t mangle -X CNM-LOST"},
	{audit.Missing, "rule of $FAMILY filter FORWARD", "$TABLES -D FORWARD -m comment --comment libcnm -j CNM-FORWARD",
		"$TABLES -I FORWARD -m comment --comment libcnm -j CNM-FORWARD"},
	{audit.Duplicate, "rule of $FAMILY filter FORWARD", "$TABLES -I FORWARD -m comment --comment libcnm -j CNM-FORWARD",
		"$TABLES -D FORWARD -m comment --comment libcnm -j CNM-FORWARD"},
	{audit.Wrong, "order of $FAMILY filter CNM-FORWARD", "$TABLES -D CNM-FORWARD -j CNM-USER; $TABLES -A CNM-FORWARD -j CNM-USER",
		"$TABLES -D CNM-FORWARD -j CNM-USER; $TABLES -I CNM-FORWARD -j CNM-USER"},
	{audit.Missing, "rule of $FAMILY nat CNM-MASQUERADE", "$TABLES-save -t nat >/run/kept; $TABLES -t nat -F CNM-MASQUERADE", "$TABLES-restore </run/kept"},
	{audit.Missing, "chain $FAMILY filter CNM-USER", "$TABLES -D CNM-FORWARD -j CNM-USER; $TABLES -X CNM-USER",
		"$TABLES -N CNM-USER; $TABLES -I CNM-FORWARD -j CNM-USER"},
}

// lastDamages cannot be undone; each is found among those before.
var lastDamages = []damage{
	{kind: audit.Missing, object: "port $VETHB", do: "ovs-vsctl del-port $VETHB"},
	{kind: audit.Missing, object: "group ", do: "ovs-ofctl -O OpenFlow15 del-groups cnm-int"},
	{kind: audit.Missing, object: "flow table=classify", do: "ovs-ofctl -O OpenFlow15 del-flows cnm-int table=0"},
	{kind: audit.Missing, object: "link $VETHA", do: "ip link del $VETHA"},
	{kind: audit.Missing, object: "link eth0 in sandbox $BOX", do: "true"},
	{kind: audit.Missing, object: "link $BRIDGE", do: "ip link del $BRIDGE"},
	{kind: audit.Missing, object: "blackhole 10.1.0.0/24", do: "ip route flush table 6516333"},
	{kind: audit.Missing, object: "link cnm-gw0", do: "ip link del cnm-gw1"},
	{kind: audit.Missing, object: "chain ip nat CNM-MASQUERADE", do: "iptables -t nat -F; iptables -t nat -X"},
	{kind: audit.Missing, object: "chain ip6 filter CNM-FORWARD", do: "ip6tables -F; ip6tables -X"},
	{kind: audit.Missing, object: "mount /run/libcnm/netns/$BOX", do: "umount /run/libcnm/netns/$BOX"},
	{kind: audit.Missing, object: "namespace /run/libcnm/netns/$BOX", do: "rm /run/libcnm/netns/$BOX"},
	{kind: audit.Missing, object: "bridge cnm-int", do: "ovs-vsctl del-br cnm-int"},
}

// TestEveryDamageIsFound damages one object of each class after the other, and looks.
func TestEveryDamageIsFound(t *testing.T) {
	s := newScene(t)
	s.run(t, "ip -o link show $BRIDGE | sed 's/.* link.ether \\([0-9a-f:]*\\) .*/\\1/' >/run/mac")
	// What others do is nobody's damage.
	s.run(t, `for t in iptables ip6tables; do $t -A CNM-USER -p tcp -j ACCEPT; $t -N OTHERS; $t -A FORWARD -j OTHERS; done
		ip link add other type bridge; ip addr add 10.66.0.1/24 dev other; ip route add 10.67.0.0/16 dev cnm-gw0
		ovs-vsctl add-br others -- set bridge others datapath_type=netdev`)
	clean(t, s.host, s.request)
	s.run(t, "for t in iptables ip6tables; do $t -F CNM-USER; done")
	for _, d := range append(hostDamages, switchDamages...) {
		s.damage(t, d)
	}
	for _, p := range []struct{ tables, family string }{{"iptables", "ip"}, {"ip6tables", "ip6"}} {
		names := strings.NewReplacer("$TABLES", p.tables, "$FAMILY", p.family)
		for _, d := range ruleDamages {
			s.damage(t, damage{d.kind, names.Replace(d.object), names.Replace(d.do), names.Replace(d.undo)})
		}
	}
	s.unfinished(t)
	clean(t, s.host, s.request) // all was undone, so each was found for what it was
	s.damageRecords(t)
	clean(t, s.host, s.request)
	for _, d := range lastDamages {
		s.damage(t, d)
	}
}

// unfinished makes a link as a controller leaves it that dies before it can mark it, and takes it away.
func (s *scene) unfinished(t *testing.T) {
	t.Helper()
	half := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cnmbhalf", Group: group("bridge")}}
	rig.Must(t, s.host.NS.Do(func() error { return netlink.LinkAdd(half) }))
	expect(t, look(t, s.host, s.request), audit.Stray, "link cnmbhalf")
	rig.Must(t, s.host.NS.Do(func() error { return netlink.LinkDel(half) }))
}

func (s *scene) damage(t *testing.T, d damage) {
	t.Helper()
	s.run(t, d.do)
	object := s.names.Replace(d.object)
	found := look(t, s.host, s.request)
	expect(t, found, d.kind, object)
	if t.Failed() {
		t.Fatalf("after %s", s.names.Replace(d.do))
	}
	if d.undo != "" {
		s.run(t, d.undo)
	}
}
