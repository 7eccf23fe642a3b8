package link

// turn is held by whoever asks the kernel for something that needs its one lock of network configuration, rtnl. Waiting for
// that lock by netlink is sleeping, but a write to disable_ipv6 that finds it taken is started again at once, and again, on as
// many CPUs as there are writers: eight endpoints that came up together spent most of their time so. Who waits here sleeps.
//
// Deletions stay outside: they give the lock back long before they return.
var turn = make(chan struct{}, 1)

func inTurn(fn func() error) error {
	turn <- struct{}{}
	defer func() { <-turn }()
	return fn()
}
