package testutil_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// victimEnv makes TestVictim do something that leaves things behind, in a run of this test binary of its own.
const victimEnv = "CNM_TEST_VICTIM"

func TestVictim(t *testing.T) {
	mode := os.Getenv(victimEnv)
	if mode == "" {
		return // the other tests start it
	}
	rig := testutil.NewHosts(t, 1, testutil.HostsOptions{NoOVS: os.Getenv(victimEnv+"_NOOVS") != ""})
	rig.Hosts[0].Start(t)
	// A process that has left its parent, session and terminal.
	if err := exec.Command("setsid", "--fork", "sleep", "1000").Run(); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"ip", "iptables", "ovs-vswitchd"} { // all in /usr/sbin
		if _, err := exec.LookPath(program); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(os.TempDir()); err != nil {
		t.Errorf("the directory for temporary files, which was under /run outside: %v", err)
	}
	fmt.Println("ready", os.TempDir())
	switch mode {
	case "pass":
	case "fail":
		t.Fatal("as told")
	case "panic":
		panic("as told")
	case "exit":
		os.Exit(7)
	case "hang":
		<-t.Context().Done()
	}
}

// TestNothingIsLeft runs tests that end in every way a test can end.
func TestNothingIsLeft(t *testing.T) {
	tests := []struct {
		mode   string
		args   []string
		signal syscall.Signal // sent when the victim is ready
		want   string
	}{
		{mode: "pass", want: "exit status 0"},
		{mode: "fail", want: "exit status 1"},
		{mode: "panic", want: "exit status 2"},
		{mode: "exit", want: "exit status 7"},
		{mode: "hang", args: []string{"-test.timeout=2s"}, want: "exit status 2"},
		{mode: "hang", signal: syscall.SIGKILL, want: "signal: killed"},
		{mode: "hang", signal: syscall.SIGTERM, want: "exit status 143"},
		{mode: "hang", signal: syscall.SIGINT, want: "exit status 130"},
		{mode: "hang", signal: syscall.SIGQUIT, want: "exit status 2"}, // what go test sends after the timeout
	}
	for _, tt := range tests {
		t.Run(strings.Join(append([]string{tt.mode, tt.want}, tt.args...), " "), func(t *testing.T) {
			t.Parallel()
			v := victimRun{mode: tt.mode, args: tt.args}.start(t)
			if tt.signal != 0 {
				v.interrupt(t, tt.signal)
			}
			if got := v.wait(t); got != tt.want {
				t.Errorf("ended with %q, want %q; output:\n%s", got, tt.want, v.output.String())
			}
			testutil.Eventually(t, 10*time.Second, v.gone)
			_, err := os.Stat(v.temp)
			if left := err == nil; left != (tt.signal == syscall.SIGKILL) {
				t.Errorf("temporary files left: %v", left)
			}
			if tt.signal != syscall.SIGKILL {
				return
			}
			// Nobody was left to remove the files; the next run does.
			next := victimRun{mode: "pass", temp: filepath.Dir(v.temp)}.start(t)
			next.wait(t)
			if _, err := os.Stat(v.temp); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the next run has left the killed run's files: %v", err)
			}
		})
	}
}

// TestOrdinaryUser runs a rig as a user who is root nowhere.
func TestOrdinaryUser(t *testing.T) {
	if !hasNobody(t) {
		return // an ordinary user has started these tests, so all of them show it
	}
	tun, err := os.Stat("/dev/net/tun")
	if err != nil {
		t.Fatal(err)
	}
	run := victimRun{mode: "pass", uid: testutil.Nobody, noOVS: tun.Mode().Perm()&0o006 != 0o006}
	if run.noOVS {
		t.Logf("hosts without Open vSwitch, because this machine's /dev/net/tun has mode %v", tun.Mode().Perm())
	}
	v := run.start(t)
	if got := v.wait(t); got != "exit status 0" {
		t.Errorf("as an ordinary user: %s\n%s", got, v.output.String())
	}
	testutil.Eventually(t, 10*time.Second, v.gone)
}

// TestNoUserNamespaces runs where the host forbids them.
func TestNoUserNamespaces(t *testing.T) {
	const limit = "/proc/sys/user/max_user_namespaces" // of those made from this one
	old, err := os.ReadFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(limit, old, 0); err != nil {
			t.Error(err)
		}
	})
	v := victimRun{mode: "pass"}.start(t)
	if got := v.wait(t); got != "exit status 0" {
		t.Errorf("as root: %s\n%s", got, v.output.String())
	}
	testutil.Eventually(t, 10*time.Second, v.gone)
	if !hasNobody(t) {
		return // there is no other user to try
	}
	v = victimRun{mode: "pass", uid: testutil.Nobody, refused: true}.start(t)
	if got := v.wait(t); got != "exit status 1" || !strings.Contains(v.output.String(), "user.max_user_namespaces") {
		t.Errorf("as an ordinary user: %s\n%s\nwant exit status 1 and a text that names the sysctl", got, v.output.String())
	}
}

// hasNobody says whether this user namespace has a user that is not root.
func hasNobody(t *testing.T) bool {
	t.Helper()
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(ids)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == strconv.Itoa(testutil.Nobody) {
			return true
		}
	}
	return false
}

// TestInside says what the tests' own world is like.
func TestInside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Errorf("user ID is %d", os.Getuid())
	}
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "eth0" {
			t.Error("/sys shows the machine's links")
		}
	}
	if _, err := testutil.Ping(t.Context(), testutil.HomeNS(t), a4.Addr()); err == nil {
		t.Error("an address that nobody has answers")
	}
	for _, to := range []string{"127.0.0.1", "::1"} {
		reach(t, testutil.HomeNS(t), mustAddr(t, to))
	}
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil || !strings.Contains(string(comm), "exe") && !strings.Contains(string(comm), "testutil") {
		t.Errorf("PID 1 is %q (%v)", comm, err)
	}
}

// TestOrphansAreReaped shows that PID 1 does what PID 1 must.
func TestOrphansAreReaped(t *testing.T) {
	out, err := exec.Command("sh", "-c", "true & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(out))
	testutil.Eventually(t, 10*time.Second, func() error {
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil {
			return fmt.Errorf("a process that nobody waits for is still there: %s", stat)
		}
		return nil
	})
}

// victim is another run of this test binary, with namespaces of its own.
type victim struct {
	cmd    *exec.Cmd
	id     string // in the environment of all its processes
	temp   string
	output bytes.Buffer // complete after wait
	copied chan error
}

// victimRun says how to start one.
type victimRun struct {
	mode    string
	args    []string
	uid     int    // 0: root
	temp    string // directory for temporary files; empty: a new one
	noOVS   bool
	refused bool // it is expected not to start
}

func (run victimRun) start(t *testing.T) *victim {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "victim") //nolint:usetesting // other users must reach it, the tests' own is private
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	v := &victim{id: victimEnv + "_ID=" + filepath.Base(dir), copied: make(chan error, 1)}
	// By this name even a user who may not enter the binary's directory can run it.
	v.cmd = exec.Command("/proc/self/exe", append([]string{"-test.run=^TestVictim$"}, run.args...)...)
	v.cmd.Dir = dir
	if uid := run.uid; uid != 0 {
		v.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, uid, uid)); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CNM_TEST_STAGE=") && !strings.HasPrefix(e, "TMPDIR=") {
			v.cmd.Env = append(v.cmd.Env, e)
		}
	}
	if run.temp == "" {
		run.temp = dir
	}
	v.cmd.Env = append(v.cmd.Env, victimEnv+"="+run.mode, v.id, "TMPDIR="+run.temp, "GOTRACEBACK=none", "GOCOVERDIR="+run.temp,
		"PATH=/usr/bin:/bin") // as an ordinary user's may be
	if run.noOVS {
		v.cmd.Env = append(v.cmd.Env, victimEnv+"_NOOVS=1")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	v.cmd.Stdout, v.cmd.Stderr = w, w
	err = v.cmd.Start()
	if closeErr := w.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	out := bufio.NewReader(r)
	var line string
	var readErr error
	if !run.refused {
		line, readErr = out.ReadString('\n')
	}
	go func() {
		_, err := io.Copy(&v.output, out)
		v.copied <- errors.Join(err, r.Close())
	}()
	var ok bool
	if v.temp, ok = strings.CutPrefix(strings.TrimSpace(line), "ready "); !ok && !run.refused {
		t.Fatalf("victim %s: %s\n%q (%v)\n%s", run.mode, v.wait(t), line, readErr, v.output.String())
	}
	return v
}

func (v *victim) interrupt(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := v.gone(); err == nil {
		t.Fatal("the victim's processes are not found while it runs")
	}
	if err := v.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// wait waits until the victim and every process that could write to its output have ended.
func (v *victim) wait(t *testing.T) string {
	t.Helper()
	err := v.cmd.Wait()
	if err := <-v.copied; err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return v.cmd.ProcessState.String()
}

// gone returns an error that names the victim's processes while there are any.
func (v *victim) gone() error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var left []string
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // it has just ended
		}
		if slices.Contains(strings.Split(string(env), "\x00"), v.id) {
			comm, err := os.ReadFile(filepath.Join(dir, "comm"))
			if err != nil {
				continue
			}
			left = append(left, filepath.Base(dir)+" "+strings.TrimSpace(string(comm)))
		}
	}
	if left != nil {
		return fmt.Errorf("processes are left: %s", strings.Join(left, ", "))
	}
	return nil
}
