package link

import "context"

// Statistics counts what an interface carried since it was made.
type Statistics struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Stats returns the counters of an interface, or ErrNotFound.
func (h *Handle) Stats(ctx context.Context, name string) (Statistics, error) {
	l, err := h.Link(ctx, name)
	s := l.statistics
	return Statistics{
		RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxErrors: s.RxErrors, RxDropped: s.RxDropped,
		TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxErrors: s.TxErrors, TxDropped: s.TxDropped,
	}, err
}
