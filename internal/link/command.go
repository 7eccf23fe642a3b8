package link

import (
	"context"
	"os/exec"
	"syscall"
)

// Command prepares a program to run in the network namespace at nsPath, by nsenter(1) of util-linux and without a shell:
// a Go program cannot start a child in another namespace without lending it a thread. The program is killed when ctx ends.
// With cgroupFD >= 0 it starts inside that cgroup (version 2) directory.
func Command(ctx context.Context, nsPath string, cgroupFD int, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + nsPath, "--", name}, args...)...)
	if cgroupFD >= 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroupFD}
	}
	return cmd
}
