package link

import (
	"context"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Statistics counts what an interface carried since it was made.
type Statistics struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Stats returns the counters of an interface, or ErrNotFound.
func (h *Handle) Stats(ctx context.Context, name string) (s Statistics, err error) {
	if err := CheckName(name); err != nil {
		return Statistics{}, err
	}
	err = h.use(ctx, func(c *conn) error {
		s, err = c.statistics(name)
		return err
	})
	return s, err
}

func (c *conn) statistics(name string) (Statistics, error) {
	_, raw, err := c.askLinkMessage(name, 0, attrText(unix.IFLA_IFNAME, name))
	if err != nil {
		return Statistics{}, err
	}
	s, err := parseStatistics(raw)
	return s, opError("read counters of", name, err)
}

// parseStatistics reads the counters of a link message: the first eight of rtnl_link_stats64 in linux/if_link.h.
func parseStatistics(raw []byte) (Statistics, error) {
	if len(raw) < unix.SizeofIfInfomsg {
		return Statistics{}, unix.EBADMSG
	}
	value, err := findAttribute(raw[unix.SizeofIfInfomsg:], unix.IFLA_STATS64)
	if err != nil || len(value) < 8*8 {
		return Statistics{}, unix.EBADMSG
	}
	counter := func(i int) uint64 { return binary.NativeEndian.Uint64(value[8*i:]) }
	return Statistics{
		RxPackets: counter(0), TxPackets: counter(1), RxBytes: counter(2), TxBytes: counter(3),
		RxErrors: counter(4), TxErrors: counter(5), RxDropped: counter(6), TxDropped: counter(7),
	}, nil
}
