package testutil

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS

// Nobody is the user and group ID that is not root's and exists inside when the tests were started by root.
const Nobody = 65534

// errSetup: the namespaces could be made, but not set up or not at all; nothing has run in them.
var errSetup = errors.New("enter private namespaces")

// runOutside is the life of the process that stays outside. It returns its exit status.
func runOutside(c config) (int, error) {
	var watchers []func() error
	for _, watch := range c.watch {
		after, err := watch()
		if err != nil {
			return 0, err
		}
		watchers = append(watchers, after)
	}
	code, err := runInside(c)
	for _, after := range watchers {
		err = errors.Join(err, after())
	}
	return code, err
}

// runInside starts this program again as PID 1 of new namespaces and returns its exit status.
func runInside(c config) (int, error) {
	env := os.Environ()
	if c.etcd && os.Getenv(etcdBinEnv) == "" {
		path, err := BuildEtcd()
		if err != nil {
			return 0, err
		}
		env = append(env, etcdBinEnv+"="+path)
	}
	if os.Getenv("GORACE") == "" {
		env = append(env, "GORACE=atexit_sleep_ms=100") // not a second for every process with -race that exits
	}
	tmp, err := newTempDir()
	if err != nil {
		return 0, err
	}
	// An ordinary user's PATH may lack the directories of ip, iptables and ovs-vswitchd.
	env = append(env, "PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin", "TMPDIR="+tmp.path, stageEnv+"="+stageInit)

	code, err := reexec(env, namespaces|unix.CLONE_NEWUSER)
	if errors.Is(err, errSetup) && os.Geteuid() == 0 {
		// Some hosts forbid user namespaces; root can do without one.
		code, err = reexec(env, namespaces)
	}
	if errors.Is(err, errSetup) && os.Geteuid() != 0 {
		err = fmt.Errorf("%w\nan ordinary user needs unprivileged user namespaces: see sysctl user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns, or run as root", err)
	}
	return code, errors.Join(err, tmp.remove())
}

// reexec runs this program in namespaces of its own and waits for it.
func reexec(env []string, flags uintptr) (int, error) {
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer statusR.Close()
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		statusW.Close()
		return 0, err
	}
	defer lifeW.Close()

	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{statusW, lifeR} // statusFD, lifeFD
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: flags,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a terminal's interrupt reaches this process only, which passes it on once
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = idMap(os.Geteuid())
		cmd.SysProcAttr.GidMappings = idMap(os.Getegid())
		cmd.SysProcAttr.GidMappingsEnableSetgroups = os.Geteuid() == 0
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)

	err = cmd.Start()
	statusW.Close()
	lifeR.Close()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errSetup, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	status, readErr := io.ReadAll(statusR)
	for {
		select {
		case sig := <-signals:
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 0, fmt.Errorf("pass on %v: %w", sig, err)
			}
		case err := <-ended:
			if text := strings.TrimSuffix(string(status), statusReady); text != "" || len(status) == 0 {
				return 0, errors.Join(fmt.Errorf("%w: %s", errSetup, text), readErr)
			}
			return exitStatus(err)
		}
	}
}

// idMap makes the caller root inside. Root also gets an ordinary user, for tests of what one may do; an ordinary user
// may map no ID but its own.
func idMap(own int) []syscall.SysProcIDMap {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: own, Size: 1}}
	if os.Geteuid() == 0 {
		ids = append(ids, syscall.SysProcIDMap{ContainerID: Nobody, HostID: Nobody, Size: 1})
	}
	return ids
}

// exitStatus is what a shell would report.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &exit):
		return 0, err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}
