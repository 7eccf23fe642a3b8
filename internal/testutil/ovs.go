package testutil

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	ovsSchema       = "/usr/share/openvswitch/vswitch.ovsschema"
	ovsStartTimeout = 30 * time.Second // two busy cores, and others test on them too
)

// OVSOptions says where an Open vSwitch runs. The zero value is a new directory and the test's own namespace.
type OVSOptions struct {
	Dir    string // run directory, database and logs
	In     Place  // nil: here
	System bool   // allow the kernel's datapath, where one can be had; else only netdev
}

// OVS is a private ovsdb-server and ovs-vswitchd. Bridges must be datapath_type=netdev unless System, or of type Datapath().
type OVS struct {
	dir    string // as this process sees it
	in     Place
	inside string // dir as in sees it
	system bool

	ovsdb, vswitchd *process
	starts          int
}

// StartOVS starts a private Open vSwitch with an empty database and stops it when the test ends.
func StartOVS(t TB, opts OVSOptions) *OVS {
	t.Helper()
	if opts.Dir == "" {
		// Short, because a socket's path has a limit of 107 bytes.
		dir, err := os.MkdirTemp("/run", "ovs")
		if err != nil {
			t.Fatalf("start ovs: %v", err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Errorf("remove ovs: %v", err)
			}
		})
		opts.Dir = dir
	}
	if opts.In == nil {
		opts.In = here{}
	}
	o := &OVS{dir: opts.Dir, in: opts.In, inside: opts.Dir, system: opts.System || KernelDatapath()}
	o.start(t)
	return o
}

func (o *OVS) start(t TB) {
	t.Helper()
	for _, program := range []string{"ovsdb-server", "ovs-vswitchd", "ovs-vsctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("start ovs: %v (run scripts/install-deps)", err)
		}
	}
	if tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Fatalf("start ovs: %v (the netdev datapath needs it; run scripts/install-deps as root)", err)
	} else if err := tun.Close(); err != nil {
		t.Fatalf("start ovs: %v", err)
	}
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Errorf("stop ovs: %v", err)
		}
		if t.Failed() {
			t.Logf("ovs-vswitchd's log:\n%s", tail(o.log("ovs-vswitchd")))
		}
	})
	if _, err := o.run(t.Context(), "ovsdb-tool", "create", o.inside+"/conf.db", ovsSchema); err != nil {
		t.Fatalf("start ovs: %v", err)
	}
	o.StartOVSDB(t)
	o.Vsctl(t, "--no-wait", "init")
	o.StartVswitchd(t)
}

// Endpoint is the database's address for clients on this side, such as "unix:/run/ovs1/db.sock".
func (o *OVS) Endpoint() string { return "unix:" + filepath.Join(o.dir, "db.sock") }

// RunDir is the directory with the bridges' management sockets, as this process sees it.
func (o *OVS) RunDir() string { return o.dir }

// Pids returns the process IDs of ovsdb-server and ovs-vswitchd.
func (o *OVS) Pids() (ovsdb, vswitchd int) { return o.ovsdb.pid(), o.vswitchd.pid() }

// Vsctl runs ovs-vsctl, which waits until ovs-vswitchd has done what it asks, and returns its output.
func (o *OVS) Vsctl(t TB, args ...string) string {
	t.Helper()
	args = append([]string{"--db=unix:" + o.inside + "/db.sock", fmt.Sprintf("--timeout=%.0f", ovsStartTimeout.Seconds())}, args...)
	return o.must(t, "ovs-vsctl", args...)
}

// Ofctl runs ovs-ofctl with every OpenFlow version from 1.0 to 1.5 enabled and returns its output.
func (o *OVS) Ofctl(t TB, args ...string) string {
	t.Helper()
	return o.must(t, "ovs-ofctl", append([]string{"-O", "OpenFlow10,OpenFlow13,OpenFlow14,OpenFlow15"}, args...)...)
}

// Appctl runs ovs-appctl against ovs-vswitchd and returns its output.
func (o *OVS) Appctl(t TB, args ...string) string {
	t.Helper()
	return o.must(t, "ovs-appctl", append([]string{"-t", o.control()}, args...)...)
}

// KillOVSDB kills ovsdb-server at once.
func (o *OVS) KillOVSDB(t TB) {
	t.Helper()
	if err := o.ovsdb.kill(); err != nil {
		t.Fatalf("%v", err)
	}
}

// KillVswitchd kills ovs-vswitchd at once. Its flows and connection tracking on netdev are gone; its bridges' local ports
// stay, with their addresses, and outlive the test too if it is not started again.
func (o *OVS) KillVswitchd(t TB) {
	t.Helper()
	if err := o.vswitchd.kill(); err != nil {
		t.Fatalf("%v", err)
	}
}

// PauseVswitchd stops ovs-vswitchd from running without ending it; ResumeVswitchd lets it go on.
func (o *OVS) PauseVswitchd(t TB) {
	t.Helper()
	o.signal(t, o.vswitchd, syscall.SIGSTOP)
}

// ResumeVswitchd ends PauseVswitchd.
func (o *OVS) ResumeVswitchd(t TB) {
	t.Helper()
	o.signal(t, o.vswitchd, syscall.SIGCONT)
}

func (o *OVS) signal(t TB, p *process, sig syscall.Signal) {
	t.Helper()
	if err := p.signal(sig); err != nil {
		t.Fatalf("%v", err)
	}
}

// StartOVSDB starts ovsdb-server on the database that is there and waits until it answers. An ovs-vswitchd that lost
// its predecessor takes up to eight seconds more to find it.
func (o *OVS) StartOVSDB(t TB) {
	t.Helper()
	if o.ovsdb != nil && o.ovsdb.running() {
		t.Fatalf("start ovsdb-server: it is running")
	}
	var err error
	o.ovsdb, err = start("ovsdb-server", o.log("ovsdb-server"), o.command("ovsdb-server", o.inside+"/conf.db",
		"--remote=punix:"+o.inside+"/db.sock", "--unixctl="+o.inside+"/ovsdb-server.ctl",
		"--pidfile="+o.inside+"/ovsdb-server.pid", "-vconsole:warn", "-vsyslog:off"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	Eventually(t, ovsStartTimeout, func() error {
		if err := o.ovsdb.ended(); err != nil {
			return err
		}
		_, err := o.run(t.Context(), "ovs-appctl", "-t", o.inside+"/ovsdb-server.ctl", "ovsdb-server/list-dbs")
		return err
	})
}

// StartVswitchd starts ovs-vswitchd and waits until every bridge in the database is there.
func (o *OVS) StartVswitchd(t TB) {
	t.Helper()
	if o.vswitchd != nil && o.vswitchd.running() {
		t.Fatalf("start ovs-vswitchd: it is running")
	}
	args := []string{"unix:" + o.inside + "/db.sock", "--unixctl=" + o.control(), "--pidfile=" + o.inside + "/ovs-vswitchd.pid",
		"-vconsole:warn", "-vsyslog:off"}
	if !o.system {
		args = append(args, "--disable-system")
	}
	var err error
	if o.vswitchd, err = start("ovs-vswitchd", o.log("ovs-vswitchd"), o.command("ovs-vswitchd", args...)); err != nil {
		t.Fatalf("%v", err)
	}
	// ovs-vsctl waits for a change, and only for a change, until ovs-vswitchd has taken it in.
	o.starts++
	o.Vsctl(t, "set", "Open_vSwitch", ".", fmt.Sprintf("external_ids:testutil-start=%d", o.starts))
	if err := o.vswitchd.ended(); err != nil {
		t.Fatalf("%v", err)
	}
}

func (o *OVS) close() error {
	var errs []error
	if o.vswitchd != nil && o.vswitchd.running() {
		// Both kinds of datapath leave links behind unless it is told to remove them.
		ctx, cancel := context.WithTimeout(context.Background(), ovsStartTimeout)
		defer cancel()
		_, err := o.run(ctx, "ovs-appctl", "-t", o.control(), "exit", "--cleanup")
		errs = append(errs, err, o.vswitchd.wait(ovsStartTimeout))
	}
	for _, p := range []*process{o.vswitchd, o.ovsdb} {
		if p != nil {
			errs = append(errs, p.kill())
		}
	}
	return errors.Join(errs...)
}

func (o *OVS) control() string { return o.inside + "/ovs-vswitchd.ctl" }

func (o *OVS) log(program string) string { return filepath.Join(o.dir, program+".log") }

func (o *OVS) must(t TB, name string, args ...string) string {
	t.Helper()
	out, err := o.run(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

func (o *OVS) command(name string, args ...string) *exec.Cmd {
	cmd := o.in.Command(name, args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.inside, "OVS_LOGDIR="+o.inside, "OVS_DBDIR="+o.inside, "LC_ALL=C")
	return cmd
}

func (o *OVS) run(ctx context.Context, name string, args ...string) (string, error) {
	return output(ctx, o.command(name, args...))
}

// output runs cmd to its end, or the context's, and returns what it printed.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Kill() //nolint:errcheck // it fails when the process has ended by itself, which Wait tells
	})
	err := cmd.Wait()
	stop()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, errors.Join(err, ctx.Err()), bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
