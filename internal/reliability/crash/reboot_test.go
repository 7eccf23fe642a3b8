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

// forget removes what ends with the kernel. A veth may go by itself when its sandbox's namespace has.
const forget = `set -e
for ns in /run/libcnm/netns/*; do umount -l "$ns"; done
rm -r /run/libcnm
for l in $(ip -o link | grep -oE 'cnm[a-z0-9-]+' | sort -u); do ip link delete "$l" || ! ip link show "$l"; done
`

// reboot makes the host what it is after a reboot: its files below /var/lib and the switch's database are there, nothing
// else is. No controller may run.
func reboot(t *testing.T, h *testutil.Host) {
	t.Helper()
	h.OVS.KillVswitchd(t)
	h.Run(t, "sh", "-c", forget)
	h.FlushRules(t)
	id := fmt.Sprintf("00000000-0000-0000-0000-%012x\n", boots.Add(1))
	must(t, os.WriteFile(filepath.Join(h.Dir, "run/boot_id"), []byte(id), 0o600))
	const file = "/proc/sys/kernel/random/boot_id"
	h.Run(t, "sh", "-c", "grep -q "+file+" /proc/self/mountinfo || mount --bind /run/boot_id "+file)
	h.OVS.StartVswitchd(t)
}
