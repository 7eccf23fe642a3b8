package ipam_test

import (
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/ipam"
)

var (
	prefix = netip.MustParsePrefix
	addr   = netip.MustParseAddr
)

func newPool(t testing.TB, cfg ipam.Config) *ipam.Pool {
	t.Helper()
	p, err := ipam.NewPool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// take allocates n addresses, the first at revision rev, and frees none.
func take(t *testing.T, p *ipam.Pool, n int, rev int64) []string {
	t.Helper()
	var got []string
	for range n {
		c, err := p.Candidate(0)
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		observe(t, p, c.Addr.String(), ipam.Owned, rev)
		got = append(got, c.Addr.String())
		rev++
	}
	return got
}

func observe(t *testing.T, p *ipam.Pool, a string, state ipam.State, rev int64) {
	t.Helper()
	if err := p.Observe(ipam.Claim{Addr: addr(a), State: state, Rev: rev}); err != nil {
		t.Fatal(err)
	}
}

func exhausted(t *testing.T, p *ipam.Pool, text string) {
	t.Helper()
	c, err := p.Candidate(0)
	if !errors.Is(err, errdefs.ErrExhausted) || err.Error() != text {
		t.Errorf("got %v, error %v, want ErrExhausted %q", c, err, text)
	}
}

// TestPrefixKinds allocates all of small subnets, and the first of large ones.
func TestPrefixKinds(t *testing.T) {
	for _, test := range []struct {
		cfg   ipam.Config
		size  uint64
		first []string // in order; all there are if exhausted
		text  string   // of the error when exhausted
	}{
		{ipam.Config{Subnet: prefix("10.0.0.0/24"), Gateway: addr("10.0.0.1")}, 253,
			[]string{"10.0.0.2", "10.0.0.3", "10.0.0.4"}, ""},
		{ipam.Config{Subnet: prefix("10.0.0.0/29"), Gateway: addr("10.0.0.3")}, 5,
			[]string{"10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"},
			"pool 10.0.0.0/29: 5 of 5 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("10.0.0.0/30"), Gateway: addr("10.0.0.1")}, 1,
			[]string{"10.0.0.2"}, "pool 10.0.0.0/30: 1 of 1 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("10.0.0.0/31")}, 2,
			[]string{"10.0.0.0", "10.0.0.1"}, "pool 10.0.0.0/31: 2 of 2 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("10.0.0.0/31"), Gateway: addr("10.0.0.0")}, 1,
			[]string{"10.0.0.1"}, "pool 10.0.0.0/31: 1 of 1 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("10.0.0.9/32")}, 1,
			[]string{"10.0.0.9"}, "pool 10.0.0.9/32: 1 of 1 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("10.0.0.0/8"), Gateway: addr("10.0.0.1")}, 1<<24 - 3,
			[]string{"10.0.0.2", "10.0.0.3"}, ""},
		{ipam.Config{Subnet: prefix("10.0.0.0/24"), Range: prefix("10.0.0.128/30"), Gateway: addr("10.0.0.1"),
			Auxiliary: map[string]netip.Addr{"router": addr("10.0.0.129")}}, 3,
			[]string{"10.0.0.128", "10.0.0.130", "10.0.0.131"},
			"pool 10.0.0.0/24 range 10.0.0.128/30: 3 of 3 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("10.0.0.0/24"), Range: prefix("10.0.0.252/30")}, 3,
			[]string{"10.0.0.252", "10.0.0.253", "10.0.0.254"},
			"pool 10.0.0.0/24 range 10.0.0.252/30: 3 of 3 addresses in use: exhausted"},

		{ipam.Config{Subnet: prefix("fd00:1::/64"), Gateway: addr("fd00:1::1")}, math.MaxUint64,
			[]string{"fd00:1::2", "fd00:1::3", "fd00:1::4"}, ""},
		{ipam.Config{Subnet: prefix("fd00:1::/48"), Gateway: addr("fd00:1::1")}, math.MaxUint64,
			[]string{"fd00:1::2", "fd00:1::3"}, ""},
		{ipam.Config{Subnet: prefix("fd00::/8")}, math.MaxUint64, []string{"fd00::1", "fd00::2"}, ""},
		{ipam.Config{Subnet: prefix("fd00:1::/65"), Gateway: addr("fd00:1::1")}, 1<<63 - 2, []string{"fd00:1::2"}, ""},
		{ipam.Config{Subnet: prefix("fd00:1::/125"), Gateway: addr("fd00:1::1")}, 6,
			[]string{"fd00:1::2", "fd00:1::3", "fd00:1::4", "fd00:1::5", "fd00:1::6", "fd00:1::7"},
			"pool fd00:1::/125: 6 of 6 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("fd00:1::/127")}, 2,
			[]string{"fd00:1::", "fd00:1::1"}, "pool fd00:1::/127: 2 of 2 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("fd00:1::/127"), Gateway: addr("fd00:1::")}, 1,
			[]string{"fd00:1::1"}, "pool fd00:1::/127: 1 of 1 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("fd00:1::9/128")}, 1,
			[]string{"fd00:1::9"}, "pool fd00:1::9/128: 1 of 1 addresses in use: exhausted"},
		{ipam.Config{Subnet: prefix("fd00:1::/64"), Range: prefix("fd00:1::ff00/126"), Gateway: addr("fd00:1::1"),
			Auxiliary: map[string]netip.Addr{"router": addr("fd00:1::ff02")}}, 3,
			[]string{"fd00:1::ff00", "fd00:1::ff01", "fd00:1::ff03"},
			"pool fd00:1::/64 range fd00:1::ff00/126: 3 of 3 addresses in use: exhausted"},
	} {
		name := test.cfg.Subnet.String()
		t.Run(name, func(t *testing.T) {
			p := newPool(t, test.cfg)
			if got := p.Usage(); got != (ipam.Usage{Size: test.size}) {
				t.Errorf("usage of the empty pool is %+v, want size %d", got, test.size)
			}
			if got := take(t, p, len(test.first), 1); !slices.Equal(got, test.first) {
				t.Errorf("got %v, want %v", got, test.first)
			}
			if got := p.Usage(); got != (ipam.Usage{Size: test.size, Used: uint64(len(test.first))}) {
				t.Errorf("usage after %d is %+v", len(test.first), got)
			}
			if test.text != "" {
				exhausted(t, p, test.text)
			}
			if p.Subnet() != test.cfg.Subnet {
				t.Errorf("subnet is %s", p.Subnet())
			}
		})
	}
}

func TestInvalidConfig(t *testing.T) {
	v4, v6 := prefix("10.0.0.0/24"), prefix("fd00:1::/64")
	aux := func(name, a string) map[string]netip.Addr { return map[string]netip.Addr{name: addr(a)} }
	for _, test := range []struct {
		cfg  ipam.Config
		says string
	}{
		{ipam.Config{}, "subnet"},
		{ipam.Config{Subnet: prefix("10.0.0.1/24")}, "host bits"},
		{ipam.Config{Subnet: v4, Gateway: addr("10.0.1.1")}, "gateway 10.0.1.1: outside"},
		{ipam.Config{Subnet: v4, Gateway: addr("10.0.0.255")}, "gateway 10.0.0.255: the broadcast address"},
		{ipam.Config{Subnet: v6, Gateway: addr("fd00:1::")}, "gateway fd00:1::: the subnet-router anycast address"},
		{ipam.Config{Subnet: v4, Range: prefix("10.0.0.9/29")}, "range 10.0.0.9/29 of subnet 10.0.0.0/24: host bits are set, the range with that address is 10.0.0.8/29"},
		{ipam.Config{Subnet: v4, Range: prefix("10.0.0.0/23")}, "range 10.0.0.0/23: not inside subnet"},
		{ipam.Config{Subnet: v4, Range: prefix("10.0.1.0/25")}, "range 10.0.1.0/25: not inside subnet"},
		{ipam.Config{Subnet: v4, Range: prefix("fd00:1::/64")}, "not inside subnet"},
		{ipam.Config{Subnet: v6, Range: prefix("fd00:2::/80")}, "range fd00:2::/80: not inside subnet"},
		{ipam.Config{Subnet: v4, Range: netip.PrefixFrom(addr("10.0.0.0"), 99)}, "range of subnet 10.0.0.0/24: not an address"},
		{ipam.Config{Subnet: v4, Range: prefix("10.0.0.0/32")}, "pool 10.0.0.0/24 range 10.0.0.0/32: every address is reserved"},
		{ipam.Config{Subnet: v6, Range: prefix("fd00:1::/127"), Gateway: addr("fd00:1::1")}, "every address is reserved"},
		{ipam.Config{Subnet: v4, Auxiliary: aux("router", "10.0.1.7")}, `auxiliary address "router" 10.0.1.7: outside`},
		{ipam.Config{Subnet: v4, Auxiliary: aux("router", "10.0.0.0")}, `auxiliary address "router" 10.0.0.0: the network address`},
		{ipam.Config{Subnet: v4, Auxiliary: map[string]netip.Addr{"router": {}}}, `auxiliary address "router" of subnet 10.0.0.0/24: not an address`},
		{ipam.Config{Subnet: v4, Gateway: addr("10.0.0.1"), Auxiliary: aux("router", "10.0.0.1")},
			`auxiliary address "router" 10.0.0.1: also the gateway of subnet 10.0.0.0/24`},
		{ipam.Config{Subnet: v6, Auxiliary: map[string]netip.Addr{"a": addr("fd00:1::5"), "b": addr("fd00:1::5")}},
			`auxiliary address "b" fd00:1::5: also the auxiliary address "a" of subnet`},
	} {
		t.Run(test.says, func(t *testing.T) {
			_, err := ipam.NewPool(test.cfg)
			if !errors.Is(err, errdefs.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got error %v, want ErrInvalid that says %q", err, test.says)
			}
		})
	}
}

func TestStatic(t *testing.T) {
	v4 := newPool(t, ipam.Config{Subnet: prefix("10.0.0.0/24"), Range: prefix("10.0.0.128/25"), Gateway: addr("10.0.0.1"),
		Auxiliary: map[string]netip.Addr{"router": addr("10.0.0.200")}})
	v6 := newPool(t, ipam.Config{Subnet: prefix("fd00:1::/48"), Gateway: addr("fd00:1::1"),
		Auxiliary: map[string]netip.Addr{"router": addr("fd00:1::5")}})
	for _, p := range []*ipam.Pool{v4, v6} {
		if got := take(t, p, 1, 7); len(got) != 1 {
			t.Fatal(got)
		}
	}
	observe(t, v4, "10.0.0.9", ipam.Owned, 8)
	observe(t, v4, "10.0.0.10", ipam.Freed, 9)
	observe(t, v6, "fd00:1:0:ffff::9", ipam.Owned, 8)
	observe(t, v6, "fd00:1:0:ffff::10", ipam.Freed, 9)
	for _, test := range []struct {
		pool     *ipam.Pool
		addr     string
		replaces int64
		class    error
		says     string
	}{
		{v4, "10.0.0.7", 0, nil, ""},
		{v4, "10.0.0.254", 0, nil, ""},
		{v4, "10.0.0.10", 9, nil, ""},
		{v4, "10.0.0.128", 0, errdefs.ErrExists, "address 10.0.0.128: in use in pool 10.0.0.0/24 range 10.0.0.128/25"},
		{v4, "10.0.0.9", 0, errdefs.ErrExists, "address 10.0.0.9: in use"},
		{v4, "10.0.0.1", 0, errdefs.ErrExists, "address 10.0.0.1: taken by the gateway"},
		{v4, "10.0.0.200", 0, errdefs.ErrExists, `address 10.0.0.200: taken by the auxiliary address "router"`},
		{v4, "10.0.0.0", 0, errdefs.ErrInvalid, "address 10.0.0.0: the network address of 10.0.0.0/24"},
		{v4, "10.0.0.255", 0, errdefs.ErrInvalid, "address 10.0.0.255: the broadcast address of 10.0.0.0/24"},
		{v4, "10.0.1.0", 0, errdefs.ErrInvalid, "address 10.0.1.0: outside subnet 10.0.0.0/24"},
		{v4, "::ffff:10.0.0.7", 0, errdefs.ErrInvalid, "write 10.0.0.7"},
		{v4, "fd00:1::7", 0, errdefs.ErrInvalid, "outside"},
		{v4, "", 0, errdefs.ErrInvalid, "not an address"},

		{v6, "fd00:1::7", 0, nil, ""},
		{v6, "fd00:1:0:ffff:ffff:ffff:ffff:ffff", 0, nil, ""},
		{v6, "fd00:1:0:ffff::10", 9, nil, ""},
		{v6, "fd00:1::2", 0, errdefs.ErrExists, "address fd00:1::2: in use in pool fd00:1::/48"},
		{v6, "fd00:1:0:ffff::9", 0, errdefs.ErrExists, "in use"},
		{v6, "fd00:1::1", 0, errdefs.ErrExists, "taken by the gateway"},
		{v6, "fd00:1::5", 0, errdefs.ErrExists, `taken by the auxiliary address "router"`},
		{v6, "fd00:1::", 0, errdefs.ErrInvalid, "the subnet-router anycast address of fd00:1::/48"},
		{v6, "fd00:2::1", 0, errdefs.ErrInvalid, "outside"},
		{v6, "fd00:1::7%eth0", 0, errdefs.ErrInvalid, "zone"},
		{v6, "10.0.0.7", 0, errdefs.ErrInvalid, "outside"},
	} {
		t.Run(test.addr, func(t *testing.T) {
			want := netip.Addr{}
			if test.addr != "" {
				want = addr(test.addr)
			}
			c, err := test.pool.Static(want)
			if test.class == nil {
				if err != nil || c.Addr != want || c.Replaces != test.replaces || c.Fresh && c.Replaces != 0 {
					t.Errorf("got %v, %v, want replaces %d", c, err, test.replaces)
				}
				return
			}
			if !errors.Is(err, test.class) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, error %v, want %v that says %q", c, err, test.class, test.says)
			}
		})
	}
	if u := v4.Usage(); u.Used != 1 || u.Freed != 0 {
		t.Errorf("addresses outside of the range are counted: %+v", u)
	}
}
