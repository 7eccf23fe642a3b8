package link

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/step"
)

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ethtoolRequest is struct ifreq of linux/if.h with a pointer in its union, which has room for 24 bytes.
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolValue
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// setTxChecksum switches checksum offload on transmit of an interface in the calling thread's namespace.
func setTxChecksum(name string, on bool) error {
	value := ethtoolValue{cmd: unix.ETHTOOL_STXCSUM}
	if on {
		value.data = 1
	}
	return opError("set checksum offload of", name, step.Do("set checksum offload", func() error {
		return ethtool(name, &value)
	}))
}

func txChecksum(name string) (bool, error) {
	value := ethtoolValue{cmd: unix.ETHTOOL_GTXCSUM}
	err := ethtool(name, &value)
	return value.data != 0, opError("read checksum offload of", name, err)
}

func ethtool(name string, value *ethtoolValue) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := ethtoolRequest{data: value}
	copy(request.name[:maxName], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
