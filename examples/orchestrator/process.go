package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/libcnm/libcnm"
)

// process is a process of this host and the network namespace that it is in. So replicas are found again after a restart,
// without a file that says which they were.
type process struct {
	pid   int
	netns os.FileInfo
}

// processes lists those that run now.
func processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if netns, err := netnsOf(pid); err == nil { // else it has ended meanwhile
			list = append(list, process{pid, netns})
		}
	}
	return list, nil
}

func netnsOf(pid int) (os.FileInfo, error) { return os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid)) }

// within returns those of the processes that are in the sandbox.
func within(sb *libcnm.Sandbox, procs []process) []process {
	netns, err := os.Stat(sb.Key())
	if err != nil {
		return nil // there is no such namespace, so nobody is in it
	}
	var list []process
	for _, p := range procs {
		if os.SameFile(p.netns, netns) {
			list = append(list, p)
		}
	}
	return list
}

// kill ends the process unless it has ended: its number may be somebody else's by now. The handle is opened before that is
// looked at, and stays with the process that was found.
func (p process) kill(sb *libcnm.Sandbox) (err error) {
	handle, err := os.FindProcess(p.pid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, handle.Release()) }()
	netns, err := netnsOf(p.pid)
	if err != nil || len(within(sb, []process{{p.pid, netns}})) == 0 {
		return nil
	}
	if err := handle.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
