package ipam_test

import (
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ipam"
)

func TestParseSubnet(t *testing.T) {
	for _, test := range []struct {
		subnet string
		says   string // part of the error; empty: valid
	}{
		{"10.0.0.0/8", ""},
		{"172.17.0.0/16", ""},
		{"192.168.1.0/24", ""},
		{"100.64.0.0/10", ""},
		{"198.51.100.0/31", ""},
		{"203.0.113.7/32", ""},
		{"240.0.0.0/5", ""},
		{"fd00::/8", ""},
		{"fd00:1::/48", ""},
		{"fd00:1::/64", ""},
		{"2001:db8::/127", ""},
		{"2001:db8::1/128", ""},

		{"", `subnet ""`},
		{"10.0.0.0", "no '/'"},
		{"10.0.0.0/33", "out of range"},
		{"fd00::/129", "out of range"},
		{"10.0.0.0/-1", "bad bits"},
		{"10.0.0.0/08", "bad bits"},
		{"10.00.0.0/8", "leading zero"},
		{"fd00::%eth0/64", "zones"},
		{"10.0.0.0/8\n", "bad bits"},
		{"../x", `"../x"`},
		{"10.1.2.3/24", "host bits are set in 10.1.2.3, the subnet with that address is 10.1.2.0/24"},
		{"10.0.0.1/31", "10.0.0.0/31"},
		{"fd00:1::1/64", "host bits are set in fd00:1::1, the subnet with that address is fd00:1::/64"},
		{"0.0.0.0/0", "every address"},
		{"::/0", "every address"},
		{"0.0.0.0/8", "unspecified range 0.0.0.0/8"},
		{"0.0.0.0/1", "unspecified"},
		{"0.0.0.0/32", "unspecified"},
		{"127.0.0.0/8", "loopback range 127.0.0.0/8"},
		{"126.0.0.0/7", "loopback"},
		{"127.0.0.1/32", "loopback"},
		{"169.254.7.0/24", "link-local range 169.254.0.0/16"},
		{"224.0.0.0/24", "multicast range 224.0.0.0/4"},
		{"192.0.0.0/2", "multicast"},
		{"255.255.255.255/32", "limited broadcast"},
		{"240.0.0.0/4", "limited broadcast"},
		{"::/128", "unspecified range ::/128"},
		{"::1/128", "loopback range ::1/128"},
		{"::/96", "unspecified"},
		{"::ffff:10.0.0.0/104", "write 10.0.0.0/8"},
		{"::ffff:10.0.0.1/120", "write 10.0.0.0/24"},
		{"::ffff:0:0/90", "host bits"},
		{"fe80::/64", "link-local range fe80::/10"},
		{"ff02::/16", "multicast range ff00::/8"},
		{"8000::/1", "link-local"},
	} {
		t.Run(test.subnet, func(t *testing.T) {
			p, err := ipam.ParseSubnet(test.subnet)
			if test.says == "" {
				if err != nil || p.String() != test.subnet {
					t.Errorf("got %s, %v", p, err)
				}
				return
			}
			if !errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %s, error %v, want ErrInvalid that says %q", p, err, test.says)
			}
		})
	}
	if err := ipam.ValidateSubnet(netip.Prefix{}); !errors.Is(err, errdefs.ErrInvalid) {
		t.Errorf("zero prefix: %v", err)
	}
	if err := ipam.ValidateSubnet(netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 40)); !errors.Is(err, errdefs.ErrInvalid) {
		t.Errorf("/40 of IPv4: %v", err)
	}
}

func TestGateway(t *testing.T) {
	for _, test := range []struct{ subnet, want, gateway, says string }{
		{"10.0.0.0/24", "", "10.0.0.1", ""},
		{"10.0.0.0/24", "10.0.0.254", "10.0.0.254", ""},
		{"10.0.0.0/30", "", "10.0.0.1", ""},
		{"10.0.0.0/31", "", "10.0.0.0", ""},
		{"10.0.0.0/31", "10.0.0.1", "10.0.0.1", ""},
		{"10.0.0.9/32", "", "", ""},
		{"fd00:1::/64", "", "fd00:1::1", ""},
		{"fd00:1::/64", "fd00:1::ffff:ffff:ffff:ffff", "fd00:1::ffff:ffff:ffff:ffff", ""},
		{"fd00:1::/48", "", "fd00:1::1", ""},
		{"fd00:1::/127", "", "fd00:1::", ""},
		{"fd00:1::/126", "", "fd00:1::1", ""},
		{"fd00:1::9/128", "", "", ""},

		{"10.0.0.0/24", "10.0.0.0", "", "gateway 10.0.0.0: the network address of 10.0.0.0/24"},
		{"10.0.0.0/24", "10.0.0.255", "", "gateway 10.0.0.255: the broadcast address of 10.0.0.0/24"},
		{"10.0.0.0/24", "10.0.1.1", "", "gateway 10.0.1.1: outside subnet 10.0.0.0/24"},
		{"10.0.0.0/24", "fd00::1", "", "outside"},
		{"10.0.0.0/24", "::ffff:10.0.0.1", "", "write 10.0.0.1"},
		{"fd00:1::/64", "fd00:1::", "", "subnet-router anycast address"},
		{"fd00:1::/64", "fd00:2::1", "", "outside"},
		{"fd00:1::/64", "fd00:1::1%eth0", "", "zone"},
		{"10.0.0.9/32", "10.0.0.9", "", "left for an endpoint"},
		{"fd00:1::9/128", "fd00:1::9", "", "left for an endpoint"},
		{"10.0.0.1/24", "", "", "host bits"},
	} {
		t.Run(test.subnet+" "+test.want, func(t *testing.T) {
			want := netip.Addr{}
			if test.want != "" {
				want = netip.MustParseAddr(test.want)
			}
			got, err := ipam.Gateway(netip.MustParsePrefix(test.subnet), want)
			if test.says != "" {
				if !errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), test.says) || got.IsValid() {
					t.Errorf("got %s, error %v, want ErrInvalid that says %q", got, err, test.says)
				}
				return
			}
			if err != nil || got.IsValid() != (test.gateway != "") || got.IsValid() && got.String() != test.gateway {
				t.Errorf("got %s, %v, want %s", got, err, test.gateway)
			}
		})
	}
}

// FuzzSubnet checks, for every prefix that is accepted, what holds for all of them.
func FuzzSubnet(f *testing.F) {
	for _, s := range []string{
		"10.0.0.0/24", "10.0.0.0/31", "10.0.0.4/32", "fd00::/64", "fd00::/127", "fd00::/8", "::ffff:10.0.0.0/104", "10.1.2.3/24", "",
		"255.255.255.254/31", "fbff:ffff::/32",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ipam.ParseSubnet(s)
		if err != nil {
			if !errors.Is(err, errdefs.ErrInvalid) || p.IsValid() {
				t.Fatalf("%q: got %s, %v", s, p, err)
			}
			return
		}
		if p != p.Masked() || p.Bits() == 0 || !p.Addr().IsPrivate() && (p.Addr().IsMulticast() || p.Addr().IsLoopback()) {
			t.Fatalf("%q: accepted %s", s, p)
		}
		gateway, err := ipam.Gateway(p, netip.Addr{})
		if err != nil || gateway.IsValid() == p.IsSingleIP() || gateway.IsValid() && !p.Contains(gateway) {
			t.Fatalf("%s: gateway %s, %v", p, gateway, err)
		}
		if gateway.IsValid() {
			if again, err := ipam.Gateway(p, gateway); err != nil || again != gateway {
				t.Fatalf("%s: its gateway %s is refused: %v", p, gateway, err)
			}
		}
		pool, err := ipam.NewPool(ipam.Config{Subnet: p, Gateway: gateway})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := pool.Usage().Size, usable(p); got != want {
			t.Fatalf("%s: %d addresses, want %d", p, got, want)
		}
		c, err := pool.Candidate(0)
		if err != nil || !p.Contains(c.Addr) || c.Addr == gateway {
			t.Fatalf("%s: candidate %v, %v", p, c, err)
		}
		if _, err := pool.Static(c.Addr); err != nil {
			t.Fatalf("%s: candidate %s is refused: %v", p, c.Addr, err)
		}
		if err := ipam.Conflict(p, []ipam.Taken{{Prefix: p, Culprit: "itself"}}); p.Bits() > 3 && !errors.Is(err, errdefs.ErrConflict) {
			t.Fatalf("%s does not overlap itself: %v", p, err)
		}
	})
}

// usable says how many addresses endpoints can have, by the textbook and without a limit of 64 bits.
func usable(p netip.Prefix) uint64 {
	bits := p.Addr().BitLen() - p.Bits()
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	switch {
	case bits == 0: // no gateway
	case bits == 1:
		n.Sub(n, big.NewInt(1))
	case p.Addr().Is4():
		n.Sub(n, big.NewInt(3))
	default:
		n.Sub(n, big.NewInt(2))
	}
	if bits >= 64 {
		return ^uint64(0)
	}
	return n.Uint64()
}
