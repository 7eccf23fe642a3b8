package demo

import (
	"errors"
	"fmt"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	pingInterval = 20 * time.Millisecond
	pingRun      = 15 // answers that show that a ping goes on
)

// pings are pings from several sandboxes at the same time.
type pings struct {
	list  []*testutil.Pinger
	names []string
}

// ping adds pings over IPv4 and IPv6 from a sandbox.
func (p *pings) ping(d *demo, from *box, to axis) {
	for _, addr := range to.addrs {
		p.list = append(p.list, testutil.StartPinger(d.t, d.places[from], addr, pingInterval))
		p.names = append(p.names, fmt.Sprintf("%s to %s", from.who(), addr))
	}
}

func target(b *box) axis { return axis{addrs: b.addrs} }

// goOn waits until every ping has had some more answers.
func (p *pings) goOn(d *demo) error {
	var before []int
	for _, one := range p.list {
		before = append(before, one.Stats().Received)
	}
	return testutil.Wait(d.t.Context(), settle, func() error {
		for i, one := range p.list {
			if stats := one.Stats(); stats.Received < before[i]+pingRun {
				return fmt.Errorf("%s: %s", p.names[i], stats)
			}
		}
		return nil
	})
}

// stop ends the pings and adds up what they saw.
func (p *pings) stop() (total testutil.PingStats, err error) {
	var errs []error
	for i, one := range p.list {
		stats, err := one.Stop()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.names[i], err))
		}
		total.Sent += stats.Sent
		total.Received += stats.Received
		total.Longest = max(total.Longest, stats.Longest)
	}
	return total, errors.Join(errs...)
}
