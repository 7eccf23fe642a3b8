package link

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A write that would start again and again waits for the turn, and a deletion, which takes long, does not.
func TestTurn(t *testing.T) {
	_, h := sandbox(t)
	plain(t, h, "a0", "a1")
	plain(t, h, "b0", "b1")
	turn <- struct{}{}
	done := make(chan error, 1)
	go func() { done <- h.SetSysctl(noTest, "net/ipv6/conf/a0/disable_ipv6", "1") }()
	deleteAny(t, h, "b0")
	select {
	case err := <-done:
		<-turn
		t.Fatalf("the write did not wait: %v", err)
	case <-time.After(20 * time.Millisecond): // long enough for one that does not
	}
	<-turn
	must(t, <-done)
	if off, err := h.Sysctl(t.Context(), "net/ipv6/conf/a0/disable_ipv6"); err != nil || off != "1" {
		t.Errorf("disable_ipv6 is %q, %v", off, err)
	}
}

// BenchmarkVethsAtOnce makes pairs, several at a time, and shows what of the CPU one costs.
func BenchmarkVethsAtOnce(b *testing.B) {
	const atOnce = 8
	_, h := sandbox(b)
	pair := func(i int) Veth {
		return Veth{Name: fmt.Sprint("a", i), Alias: mark(fmt.Sprint(i)), DisableIPv6: true, Peer: VethPeer{Name: fmt.Sprint("b", i)}}
	}
	var used time.Duration
	for b.Loop() {
		before := cpuTime(b)
		errs := make([]error, atOnce)
		var group sync.WaitGroup
		for i := range atOnce {
			group.Go(func() { errs[i] = h.EnsureVeth(b.Context(), pair(i)) })
		}
		group.Wait()
		must(b, errors.Join(errs...))
		used += cpuTime(b) - before
		b.StopTimer()
		for i := range atOnce {
			must(b, h.DeleteLink(b.Context(), pair(i).Name, pair(i).Alias))
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Microseconds())/float64(b.N*atOnce), "cpu-µs/veth")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
