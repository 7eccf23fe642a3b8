package input

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/libcnm/libcnm"
	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/drivers/drivertest"
)

// entry is a public entry that takes a string. What it calls exists already under the other names it needs, so that a
// string which is accepted changes nothing either: the answer is then accepted.
type entry struct {
	name     string
	fits     func(string) bool // what the documentation allows, said once more
	accepted error             // the class of an accepted string; nil: no error
	refused  []error           // the classes of a refused one; nil: ErrInvalid
	offer    func(context.Context, *world, string) error
}

// The forms that the documentation promises.
var (
	nameForm        = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\z`)
	idForm          = regexp.MustCompile(`\A[0-9a-f]{32}\z`)
	resolvForm      = regexp.MustCompile(`\A[A-Za-z0-9_.:-]{1,253}\z`)
	sysctlKeyForm   = regexp.MustCompile(`\Anet(\.[A-Za-z0-9_-]{1,64}){2,8}\z`)
	sysctlValueForm = regexp.MustCompile(`\A[A-Za-z0-9_.,: \t-]{1,256}\z`)
)

func never(string) bool { return false }

func anything(string) bool { return true }

func isInterface(s string) bool {
	return nameForm.MatchString(s) && len(s) <= 15 && !slices.Contains([]string{"lo", "all", "default"}, s)
}

func isPath(s string) bool {
	unprintable := strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	return strings.HasPrefix(s, "/") && len(s) < 4096 && utf8.ValidString(s) && !unprintable
}

func isDir(s string) bool { return isPath(s) && filepath.Clean(s) != "/" }

func isOVSDB(s string) bool {
	path, ok := strings.CutPrefix(s, "unix:")
	return ok && isPath(path)
}

func isEndpoint(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func isLabelKey(s string) bool   { return s != "" && len(s) <= 128 && utf8.ValidString(s) }
func isLabelValue(s string) bool { return len(s) <= 1024 && utf8.ValidString(s) }

func isFakeOptions(s string) bool {
	_, err := drivers.DecodeOptions[drivertest.FakeOptions](json.RawMessage(s))
	return err == nil && utf8.ValidString(s)
}

func isProtocol(s string) bool { return slices.Contains([]string{"tcp", "udp", "sctp"}, s) }

// errNextOption stands for the refusal of what comes after a string that was accepted.
var errNextOption = errors.New("next option")

// passed tells whether err is about what comes next, by its text.
func passed(next string, err error) error {
	if err != nil && strings.Contains(err.Error(), next) {
		return errNextOption
	}
	return err
}

// option offers an option of New.
func option(ctx context.Context, o libcnm.Option) error {
	return passed("option 2 is nil", second(libcnm.New(ctx, o, nil)))
}

// named is a driver with another name.
type named struct {
	drivers.Driver
	name string
}

func (n named) Info() drivers.Info {
	info := n.Driver.Info()
	info.Name = n.name
	return info
}

func second[T any](_ T, err error) error { return err }

// zoned is an address with s as its zone; zones are the only strings that addresses carry.
func zoned(s string) netip.Addr { return netip.MustParseAddr("fd01::9").WithZone(s) }

func isEmpty(s string) bool { return s == "" }

func isZoneOfServer(s string) bool { return s == "" || resolvForm.MatchString(s) }

func network(ctx context.Context, w *world, opts ...libcnm.NetworkOption) error {
	return second(w.c.NewNetwork(ctx, "fakenet", taken, opts...))
}

func endpoint(ctx context.Context, w *world, opts ...libcnm.EndpointOption) error {
	return second(w.net.CreateEndpoint(ctx, taken, opts...))
}

func sandbox(ctx context.Context, w *world, opts ...libcnm.SandboxOption) error {
	return second(w.c.NewSandbox(ctx, taken, opts...))
}

func entries() []entry {
	subnet := func(opts ...libcnm.SubnetOption) libcnm.NetworkOption {
		return libcnm.WithSubnet(netip.MustParsePrefix("fd01::/64"), opts...)
	}
	return []entry{
		{"WithDataDir", isDir, errNextOption, nil, func(ctx context.Context, _ *world, s string) error { return option(ctx, libcnm.WithDataDir(s)) }},
		{"WithRunDir", isDir, errNextOption, nil, func(ctx context.Context, _ *world, s string) error { return option(ctx, libcnm.WithRunDir(s)) }},
		{"WithOVSDB", isOVSDB, errNextOption, nil, func(ctx context.Context, _ *world, s string) error { return option(ctx, libcnm.WithOVSDB(s)) }},
		{"WithEtcd", isEndpoint, errNextOption, nil, func(ctx context.Context, _ *world, s string) error {
			return option(ctx, libcnm.WithEtcd(clientv3.Config{Endpoints: []string{s}}))
		}},
		{"WithNode", nameForm.MatchString, errNextOption, nil, func(ctx context.Context, _ *world, s string) error {
			return option(ctx, libcnm.WithNode(s, netip.MustParseAddr("192.0.2.1")))
		}},
		{"WithNode zone", isEmpty, errNextOption, nil, func(ctx context.Context, _ *world, s string) error {
			return option(ctx, libcnm.WithNode("n", zoned(s)))
		}},
		{"WithDriver", nameForm.MatchString, errNextOption, nil, func(ctx context.Context, w *world, s string) error {
			return option(ctx, libcnm.WithDriver(named{w.fake, s}))
		}},
		{"Release", nameForm.MatchString, libcnm.ErrNotFound, nil, func(ctx context.Context, w *world, s string) error { return w.c.Release(ctx, s) }},

		{"NewNetwork driver", func(s string) bool { return s == "fakenet" }, libcnm.ErrExists, []error{libcnm.ErrUnsupported},
			func(ctx context.Context, w *world, s string) error {
				if slices.Contains([]string{"bridge", "host", "null", "fake", "ovs-vxlan"}, s) {
					s = "x" + s // drivers that there are
				}
				return second(w.c.NewNetwork(ctx, s, taken))
			}},
		{"NewNetwork", nameForm.MatchString, errNextOption, nil, func(ctx context.Context, w *world, s string) error {
			return passed("MTU 1 ", second(w.c.NewNetwork(ctx, "fakenet", s, libcnm.WithMTU(1))))
		}},
		{"NetworkByName", nameForm.MatchString, libcnm.ErrNotFound, nil, func(ctx context.Context, w *world, s string) error { return second(w.c.NetworkByName(ctx, s)) }},
		{"NetworkByID", idForm.MatchString, libcnm.ErrNotFound, nil, func(ctx context.Context, w *world, s string) error { return second(w.c.NetworkByID(ctx, s)) }},
		{"SubnetReserve", nameForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(libcnm.SubnetReserve(s, netip.MustParseAddr("fd01::9"))))
		}},
		{"SubnetReserve zone", isEmpty, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(libcnm.SubnetReserve("x", zoned(s))))
		}},
		{"SubnetGateway zone", isEmpty, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(libcnm.SubnetGateway(zoned(s))))
		}},
		{"WithGateway zone", isEmpty, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(), libcnm.WithGateway(zoned(s)))
		}},
		{"WithLabels key", isLabelKey, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(), libcnm.WithLabels(map[string]string{s: "x"}))
		}},
		{"WithLabels value", isLabelValue, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(), libcnm.WithLabels(map[string]string{"x": s}))
		}},
		{"WithRawDriverOptions driver", func(s string) bool { return s == "fakenet" || s == "" }, libcnm.ErrExists, nil,
			func(ctx context.Context, w *world, s string) error {
				return network(ctx, w, subnet(), libcnm.WithRawDriverOptions(s, nil))
			}},
		{"WithRawDriverOptions", isFakeOptions, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return network(ctx, w, subnet(), libcnm.WithRawDriverOptions("fakenet", json.RawMessage(s)))
		}},

		{"CreateEndpoint", nameForm.MatchString, errNextOption, nil, func(ctx context.Context, w *world, s string) error {
			return passed("option 1 is nil", second(w.net.CreateEndpoint(ctx, s, nil)))
		}},
		{"EndpointByName", nameForm.MatchString, libcnm.ErrNotFound, nil, func(ctx context.Context, w *world, s string) error { return second(w.net.EndpointByName(ctx, s)) }},
		{"EndpointByID", idForm.MatchString, libcnm.ErrNotFound, nil, func(ctx context.Context, w *world, s string) error { return second(w.net.EndpointByID(ctx, s)) }},
		{"WithAliases", nameForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return endpoint(ctx, w, libcnm.WithAliases(s))
		}},
		{"WithPorts", isProtocol, libcnm.ErrUnsupported, nil, func(ctx context.Context, w *world, s string) error {
			return endpoint(ctx, w, libcnm.WithPorts(libcnm.PortBinding{Protocol: s, Port: 80}))
		}},
		{"WithIP zone", isEmpty, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return endpoint(ctx, w, libcnm.WithIP(zoned(s)))
		}},

		{"NewSandbox", nameForm.MatchString, errNextOption, nil, func(ctx context.Context, w *world, s string) error {
			return passed("option 1 is nil", second(w.c.NewSandbox(ctx, s, nil)))
		}},
		{"SandboxByContainer", nameForm.MatchString, libcnm.ErrNotFound, nil, func(_ context.Context, w *world, s string) error { return second(w.c.SandboxByContainer(s)) }},
		{"SandboxByID", idForm.MatchString, libcnm.ErrNotFound, nil, func(_ context.Context, w *world, s string) error { return second(w.c.SandboxByID(s)) }},
		{"WithNetNS", never, nil, []error{libcnm.ErrInvalid, libcnm.ErrNotFound}, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithNetNS(s))
		}},
		{"WithCgroup", never, nil, []error{libcnm.ErrInvalid, libcnm.ErrUnsupported}, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithCgroup(s))
		}},
		{"WithHostname", nameForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithHostname(s))
		}},
		{"WithDNS search", resolvForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithDNS(libcnm.DNS{Search: []string{s}}))
		}},
		{"WithDNS option", resolvForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithDNS(libcnm.DNS{Options: []string{s}}))
		}},
		{"WithDNS zone", isZoneOfServer, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithDNS(libcnm.DNS{Servers: []netip.Addr{zoned(s)}}))
		}},
		{"WithExtraHosts", nameForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithExtraHosts(libcnm.ExtraHost{Name: s, Addr: zoned("")}))
		}},
		{"WithExtraHosts zone", isEmpty, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithExtraHosts(libcnm.ExtraHost{Name: "x", Addr: zoned(s)}))
		}},
		{"WithSysctls key", sysctlKeyForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithSysctls(map[string]string{s: "1"}))
		}},
		{"WithSysctls value", sysctlValueForm.MatchString, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithSysctls(map[string]string{"net.ipv4.ip_forward": s}))
		}},
		{"WithSandboxLabels key", isLabelKey, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithSandboxLabels(map[string]string{s: "x"}))
		}},
		{"WithSandboxLabels value", isLabelValue, libcnm.ErrExists, nil, func(ctx context.Context, w *world, s string) error {
			return sandbox(ctx, w, libcnm.WithSandboxLabels(map[string]string{"x": s}))
		}},

		{"WithInterfaceName", isInterface, nil, nil, func(ctx context.Context, w *world, s string) error {
			return w.joined.Join(ctx, w.sb, libcnm.WithInterfaceName(s))
		}},
		{"WithInterfaceSysctls key", never, nil, nil, func(ctx context.Context, w *world, s string) error {
			if strings.Contains(s, "IFNAME") {
				s += "\n" // of what could be a key
			}
			return w.joined.Join(ctx, w.sb, libcnm.WithInterfaceSysctls(map[string]string{s: "1"}))
		}},
		{"WithInterfaceSysctls value", sysctlValueForm.MatchString, nil, nil, func(ctx context.Context, w *world, s string) error {
			return w.joined.Join(ctx, w.sb, libcnm.WithInterfaceSysctls(map[string]string{"net.ipv4.conf.IFNAME.rp_filter": s}))
		}},
		{"Command", anything, nil, nil, func(ctx context.Context, w *world, s string) error {
			args := w.sb.Command(ctx, s, s).Args
			if !slices.Equal(args[len(args)-3:], []string{"--", s, s}) {
				return errors.New("the program's name and argument are not passed as they are")
			}
			return nil
		}},
	}
}
