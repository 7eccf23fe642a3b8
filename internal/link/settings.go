package link

import (
	"encoding/binary"
	"strconv"
)

const (
	acceptRA = iota
	disableIPv6
	acceptDAD
	inet6Count
)

// inet6Settings are those of an interface's IPv6 that its message tells and that are asked for here.
type inet6Settings struct {
	told   bool // false: the interface is without IPv6
	values [inet6Count]int32
}

// devconf6 says under which name and at which place of DEVCONF_* in linux/ipv6.h, which counts from 0, the kernel has them.
var devconf6 = [inet6Count]struct {
	key string
	at  int
}{
	acceptRA:    {"accept_ra", 3},
	disableIPv6: {"disable_ipv6", 26},
	acceptDAD:   {"accept_dad", 27},
}

func newInet6Settings(raw []byte) inet6Settings {
	s := inet6Settings{told: true}
	for i, known := range devconf6 {
		if len(raw) < 4*(known.at+1) {
			return inet6Settings{}
		}
		s.values[i] = int32(binary.NativeEndian.Uint32(raw[4*known.at:]))
	}
	return s
}

// told returns the sysctls of the interface that its message tells. Where there is no IPv6 it is as if disabled.
func (l Link) told() map[string]string {
	out := make(map[string]string, len(devconf6))
	if !l.conf.v6.told {
		out[confKey("ipv6", l.Name, "disable_ipv6")] = "1"
		return out
	}
	for i, known := range devconf6 {
		out[confKey("ipv6", l.Name, known.key)] = strconv.Itoa(int(l.conf.v6.values[i]))
	}
	return out
}

// untold are those of want that the message does not say to be right already. To read one from its file takes the longer the
// more network namespaces there are.
func (l Link) untold(want map[string]string) map[string]string {
	told := l.told()
	out := make(map[string]string)
	for key, value := range want {
		if have, ok := told[key]; !ok || have != value {
			out[key] = value
		}
	}
	return out
}
