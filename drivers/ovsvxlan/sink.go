package ovsvxlan

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

const sinkName = "cnm-sink"

// sink is the bridge that is never up: a frame that comes in by one of its ports is dropped before the host's stack, and
// after the packet sockets, see it.
func sink() link.Bridge {
	return link.Bridge{Name: sinkName, Alias: nodeMark("sink"), MAC: net.HardwareAddr{0x0a, 'c', 'n', 'm', 0, 3}, Down: true}
}

// Frames to 01:80:c2:00:00:02 and some of its neighbours, of link protocols, are an exception: a bridge hands them to
// the stack, whatever they carry, unless it is told to forward them, which a bridge that is down does not. Bit 1, for
// pause frames, cannot be set; those are always dropped.
const groupForwardMask = "0xfffd"

func groupForwardFile(device string) string {
	return "/sys/class/net/" + device + "/brport/group_fwd_mask"
}

// silence closes the sink's exception for one of its ports. It is done before the other end is up.
func (d *Driver) silence(device string) error {
	if !d.usesNetdev() {
		return nil
	}
	have, err := groupForward(device)
	if err != nil || have == groupForwardMask {
		return err
	}
	if err := os.WriteFile(groupForwardFile(device), []byte(groupForwardMask), 0); err != nil {
		return fmt.Errorf("keep the host from hearing %s: %w: %w", device, err, drivers.ErrUnsupported)
	}
	return nil
}

func groupForward(device string) (string, error) {
	have, err := os.ReadFile(groupForwardFile(device))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("device %s: not a port of %s, or /sys is not this network namespace's: %w", device, sinkName, drivers.ErrUnavailable)
	}
	if err != nil {
		return "", fmt.Errorf("device %s: %w: %w", device, err, drivers.ErrUnsupported)
	}
	return strings.TrimSpace(string(have)), nil
}
