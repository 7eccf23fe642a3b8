package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

var boots atomic.Int64

// reboot makes the host what it is after a reboot: its files below /var/lib and the switch's database are there, nothing
// else is. No controller may run.
func reboot(t *testing.T, h *testutil.Host) {
	t.Helper()
	h.OVS.KillVswitchd(t)
	const forget = `set -e
umount -l /run/libcnm/netns/* 2>/dev/null || true
rm -rf /run/libcnm
for l in $(ip -o link | grep -oE 'cnm[a-z0-9-]+' | sort -u); do ip link delete "$l" 2>/dev/null || true; done
[ -e /run/boot_id ] && umount /proc/sys/kernel/random/boot_id || true
`
	h.Run(t, "sh", "-c", forget)
	h.FlushRules(t)
	id := fmt.Sprintf("00000000-0000-0000-0000-%012x\n", boots.Add(1))
	if err := os.WriteFile(filepath.Join(h.Dir, "run/boot_id"), []byte(id), 0o444); err != nil {
		t.Fatal(err)
	}
	h.Run(t, "mount", "--bind", "/run/boot_id", "/proc/sys/kernel/random/boot_id")
	h.OVS.StartVswitchd(t)
}
