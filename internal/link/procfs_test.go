package link

import (
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/libcnm/libcnm/internal/testutil"
)

// Many open sysctls at once, more than one instance serves, and each finds that of its own namespace. Nothing stays open.
func TestSysctlsAreFoundInEveryInstance(t *testing.T) {
	testutil.NoLeaks(t)
	host, err := Open(nil)
	must(t, err)
	var group sync.WaitGroup
	for range 8 {
		ns, err := OpenNS(testutil.NewNS(t).Path())
		must(t, err)
		group.Go(func() {
			for i := range 4 * procfsOpens {
				want := string(rune('0' + i%2))
				err := ns.Do(func() error { return writeSysctl("net/ipv4/ip_forward", want) })
				if err != nil {
					t.Error(err)
					return
				}
				var have string
				if err := ns.Do(func() (err error) { have, err = readSysctl("net/ipv4/ip_forward"); return err }); err != nil || have != want {
					t.Errorf("ip_forward is %q, %v, want %s", have, err, want)
					return
				}
			}
			if err := ns.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, absent := range []string{"net/ipv4/conf/no-such/forwarding", "net/ipv4/no_such"} {
		if _, err := readSysctl(absent); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", absent, err)
		}
	}
	must(t, host.Close())
}
