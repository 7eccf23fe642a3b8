package crash

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// idle is a host on which libcnm does not run, with a switch of its own through which it pings the outside. When the machine
// has no CPU for that either, packets of bystanders are lost that libcnm cannot save.
type idle struct {
	ping    *testutil.Pinger
	dropped uint64
}

// standstill is a silence that means that the idle host's switch did not get its turn. The sockets through which
// ovs-vswitchd reads interfaces hold what bystanders send in 2.5 s: 100 packets a second, of 832 bytes each with the kernel's
// own, in the 208 KiB of net.core.rmem_default.
const standstill = time.Second

func newIdle(t *testing.T, h *testutil.Host, outside *testutil.Rig) *idle {
	t.Helper()
	i := &idle{ping: testutil.StartPinger(t, h.NS, outside.Outside4, pingEvery)}
	i.excuse(t)
	return i
}

// excuse says what the machine did not do since the last time it was asked; empty: nothing.
func (i *idle) excuse(t *testing.T) string {
	t.Helper()
	silence := i.ping.Lap()
	dropped, err := droppedByKernel()
	must(t, err)
	more := dropped - i.dropped
	i.dropped = dropped
	switch {
	case silence > standstill:
		return fmt.Sprintf("a host without libcnm was silent for %v", silence.Round(time.Millisecond))
	case more > 0:
		return fmt.Sprintf("the kernel dropped %d packets for want of CPU", more)
	}
	return ""
}

// droppedByKernel counts packets that came faster than all CPUs together took them, from whatever namespace: the second
// column of /proc/net/softnet_stat, in base 16, a line for each CPU.
func droppedByKernel() (sum uint64, err error) {
	f, err := os.Open("/proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		columns := strings.Fields(lines.Text())
		if len(columns) < 2 {
			return 0, fmt.Errorf("read /proc/net/softnet_stat: %q has no second column", lines.Text())
		}
		n, err := strconv.ParseUint(columns[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/net/softnet_stat: %w", err)
		}
		sum += n
	}
	return sum, lines.Err()
}
