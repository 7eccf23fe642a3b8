package testutil

import "os"

// datapathEnv is set where tests run on a kernel that has Open vSwitch's datapath and are to use it, as by `make test-kernel`.
// Without it they use netdev everywhere: what a test shows must not depend on which modules a machine has loaded.
const datapathEnv = "LIBCNM_DATAPATH"

// The values of OVS's datapath_type.
const (
	datapathSystem = "system"
	datapathNetdev = "netdev"
)

// Datapath is the datapath_type of the tests' bridges, "netdev" or "system".
func Datapath() string {
	if os.Getenv(datapathEnv) == datapathSystem {
		return datapathSystem
	}
	return datapathNetdev
}

// KernelDatapath says whether the tests' bridges are the kernel's.
func KernelDatapath() bool { return Datapath() == datapathSystem }
