package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"strings"
	"testing"
)

// prelude gives snippets something to change.
const prelude = `package p

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/internal/step"
)

var (
	ctx     context.Context
	file    *os.File
	cmd     *exec.Cmd
	dialer  net.Dialer
	ovs     client.Client
	kernel  *netlink.Handle
	request *nl.NetlinkRequest
	db      *bbolt.DB
	etcd    *clientv3.Client
	update  = func(*bbolt.Tx) error { return nil }
	_       = errors.Join
	_       = syscall.EINTR
	_       = unix.EINTR
	_       run.Error
	_       step.Moment
)

`

// TestUnsteppedChangesAreFound shows that each kind of change is found outside a step, and left alone inside.
func TestUnsteppedChangesAreFound(t *testing.T) {
	p := load(t, "./...")
	judge := func(src string) []string {
		t.Helper()
		file, err := parser.ParseFile(p.fset, "p.go", prelude+src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("%v in\n%s", err, src)
		}
		u, err := p.check(module+"/p", []*ast.File{file})
		if err != nil {
			t.Fatalf("%v in\n%s", err, src)
		}
		return p.outsideSteps(u, map[string]bool{}).complaints
	}
	for change, name := range map[string]string{
		`os.Mkdir("a", 0o700)`:                         "os.Mkdir",
		`os.MkdirAll("a", 0o700)`:                      "os.MkdirAll",
		`os.Remove("a")`:                               "os.Remove",
		`os.RemoveAll("a")`:                            "os.RemoveAll",
		`os.Rename("a", "b")`:                          "os.Rename",
		`os.Link("a", "b")`:                            "os.Link",
		`os.Symlink("a", "b")`:                         "os.Symlink",
		`os.Chmod("a", 0o600)`:                         "os.Chmod",
		`os.Chown("a", 0, 0)`:                          "os.Chown",
		`os.Truncate("a", 0)`:                          "os.Truncate",
		`os.WriteFile("a", nil, 0o600)`:                "os.WriteFile",
		`second(os.Create("a"))`:                       "os.Create",
		`second(os.CreateTemp("a", "b"))`:              "os.CreateTemp",
		`second(os.OpenFile("a", os.O_CREATE, 0))`:     "os.OpenFile",
		`second(os.OpenFile("a", flags(), 0))`:         "os.OpenFile",
		`second(file.Write(nil))`:                      "os.File.Write",
		`second(file.WriteString("a"))`:                "os.File.WriteString",
		`file.Truncate(0)`:                             "os.File.Truncate",
		`unix.Mount("a", "b", "", 0, "")`:              "unix.Mount",
		`unix.Unmount("a", 0)`:                         "unix.Unmount",
		`unix.Unshare(unix.CLONE_NEWNET)`:              "unix.Unshare",
		`unix.Sendto(0, nil, 0, nil)`:                  "unix.Sendto",
		`unix.Sendmsg(0, nil, nil, nil, 0)`:            "unix.Sendmsg",
		`unix.IoctlIfreq(0, 0, nil)`:                   "unix.IoctlIfreq",
		`second(unix.Open("a", unix.O_CREAT, 0))`:      "unix.Open",
		`errno(syscall.Syscall(0, 0, 0, 0))`:           "syscall.Syscall",
		`syscall.Kill(1, 9)`:                           "syscall.Kill",
		`netlink.LinkDel(nil)`:                         "netlink.LinkDel",
		`kernel.AddrAdd(nil, nil)`:                     "netlink.Handle.AddrAdd",
		`second(request.Execute(0, 0))`:                "nl.NetlinkRequest.Execute",
		`second(run.Output(ctx, nil, "iptables"))`:     "run.Output",
		`cmd.Run()`:                                    "exec.Cmd.Run",
		`exec.Command("true").Err`:                     "exec.Command",
		`second(dialer.DialContext(ctx, "unix", "a"))`: "net.Dialer.DialContext",
		`second(ovs.Transact(ctx))`:                    "client.Client.Transact",
		`db.Update(update)`:                            "bbolt.DB.Update",
		`second(db.Begin(true))`:                       "bbolt.DB.Begin",
		`second(bbolt.Open("a", 0, nil))`:              "bbolt.Open",
		`second(etcd.Txn(ctx).Commit())`:               "clientv3.Txn.Commit",
		`second(etcd.Put(ctx, "a", "b"))`:              "clientv3.KV.Put",
		`second(etcd.Delete(ctx, "a"))`:                "clientv3.KV.Delete",
		`second(etcd.Grant(ctx, 1))`:                   "clientv3.Lease.Grant",
		`second(etcd.Revoke(ctx, 1))`:                  "clientv3.Lease.Revoke",
		`func() error { return os.Remove("a") }()`:     "os.Remove", // in a literal that is no step's
	} {
		helpers := `
func second(_ any, err error) error           { return err }
func errno(_, _ uintptr, err syscall.Errno) error { return err }
func flags() int                              { return 0 }
`
		outside := judge(fmt.Sprintf("func f() error { return %s }\n%s", change, helpers))
		if len(outside) != 1 || !strings.Contains(outside[0], "p.f uses "+name+" outside a step") {
			t.Errorf("%s: %q, want one complaint of %s", change, outside, name)
		}
		for _, call := range []string{`step.Do("change", `, `step.DoNamed(func() string { return "change" }, `} {
			if inside := judge(fmt.Sprintf("func f() error { return %sfunc() error { return %s }) }\n%s", call, change, helpers)); len(inside) != 0 {
				t.Errorf("%s in %s: %q, want nothing", change, call, inside)
			}
		}
	}
	for what, c := range map[string]struct {
		src   string
		found bool
	}{
		"a function that is kept":         {`var remove = os.Remove`, true},
		"a function that a step is given": {`func f() error { return step.Do("a", cmd.Run) }`, false},
		"a change in a step's name": {`func f() error {
			return step.DoNamed(func() string { return os.Remove("a").Error() }, func() error { return nil })
		}`, true},
		"a change after a step": {`func f() error {
			return errors.Join(step.Do("a", func() error { return nil }), os.Remove("a"))
		}`, true},
		"a literal that is kept and then a step": {`func f() error {
			change := func() error { return os.Remove("a") }
			return step.Do("a", change)
		}`, true},
		"a file that is opened":    {`func f() (*os.File, error) { return os.OpenFile("a", os.O_RDWR|syscall.O_CLOEXEC, 0) }`, false},
		"a file that is read":      {`func f() ([]byte, error) { return os.ReadFile("a") }`, false},
		"a transaction that reads": {`func f() error { return db.View(update) }`, false},
		"a goroutine within a step": {`func f() error {
			return step.Do("a", func() error { go func() { _ = os.Remove("a") }(); return nil })
		}`, false},
	} {
		if got := judge(c.src); (len(got) > 0) != c.found {
			t.Errorf("%s: found %q, want any: %t", what, got, c.found)
		}
	}
}
