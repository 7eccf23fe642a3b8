package link

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// lastNumber is the last that a namespace was given here; 0: none was.
var lastNumber atomic.Int32

// numberNS gives a namespace the number by which others know it. The kernel looks for that number, from the lowest on, for each
// message about the namespace that somebody listens to: a dozen for an endpoint that comes up. Its own choice is the highest,
// 10 µs away beside 1,000 others; here the newest is the lowest. One that is numbered keeps what it has, and where this
// number is another's the kernel chooses when it needs one.
func numberNS(ns *NS) change {
	lastNumber.CompareAndSwap(0, firstNumber())
	c := newChange("number namespace", ns.file.Name(), unix.RTM_NEWNSID, 0, nl.NewRtGenMsg(),
		attr32(netlink.NETNSA_NSID, uint32(lastNumber.Add(-1))), attr32(netlink.NETNSA_FD, uint32(ns.FD())))
	c.existsOK = true
	return c
}

// firstNumber lets a process begin below those before it, if there were fewer than ten namespaces a second since the host
// started, and always with half of all numbers left.
func firstNumber() int32 {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return math.MaxInt32
	}
	return math.MaxInt32 - int32(min(time.Duration(up.Nano())/(100*time.Millisecond), math.MaxInt32/2))
}
