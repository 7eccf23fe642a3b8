package etcfiles

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestRenderHosts(t *testing.T) {
	got := string(RenderHosts([]Host{
		{Addr: netip.MustParseAddr("10.1.0.2"), Names: []string{"web.example.org", "web"}},
		{Addr: netip.MustParseAddr("fd01::2"), Names: []string{"web.example.org", "web"}},
	}))
	want := `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
10.1.0.2	web.example.org web
fd01::2	web.example.org web
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hosts file (-want +got):\n%s", diff)
	}
}

func TestResolvConf(t *testing.T) {
	host := ParseResolvConf([]byte("# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\n" +
		"domain old.example\nsearch a.example b.example\noptions ndots:2\noptions edns0\nnameserver\n"))
	for _, tc := range []struct {
		name string
		give ResolvConf
		want string
	}{
		{"as parsed", host, "nameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 edns0\n"},
		{"without loopback", host.WithoutLoopback(), "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a.example b.example\noptions ndots:2 edns0\n"},
		{"servers given", host.Override(ResolvConf{Servers: []string{"192.0.2.9"}}), "nameserver 192.0.2.9\nsearch a.example b.example\noptions ndots:2 edns0\n"},
		{"search given", host.WithoutLoopback().Override(ResolvConf{Search: []string{"c.example"}, Options: []string{"ndots:0"}}),
			"nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch c.example\noptions ndots:0\n"},
		{"nothing", ResolvConf{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, string(tc.give.Render())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriteKeepsTheInode(t *testing.T) {
	dir := t.TempDir()
	var inodes []uint64
	for _, content := range []string{"one\n", "two and longer\n", "3\n", "3\n"} {
		if err := Write(dir, Hosts, []byte(content)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, Hosts))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != content {
			t.Errorf("content = %q, want %q", got, content)
		}
		fi, err := os.Stat(filepath.Join(dir, Hosts))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o644 {
			t.Errorf("mode = %v, want 0644", fi.Mode().Perm())
		}
		inodes = append(inodes, fi.Sys().(*syscall.Stat_t).Ino)
	}
	for _, ino := range inodes {
		if ino != inodes[0] {
			t.Fatalf("inodes %v differ: a mount would show the old file", inodes)
		}
	}
}

// TestWriteIsForAll: a container's users are not the runtime's, and read these files through a mount of their own.
func TestWriteIsForAll(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	mode := func() os.FileMode {
		if err := Write(dir, Hosts, []byte("one\n")); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(filepath.Join(dir, Hosts))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Mode().Perm()
	}
	if got := mode(); got != 0o644 {
		t.Errorf("mode under umask 077 = %v, want 0644", got)
	}
	if err := os.Chmod(filepath.Join(dir, Hosts), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := mode(); got != 0o644 {
		t.Errorf("mode after somebody's chmod = %v, want 0644", got)
	}
}

func TestWriteSaysWhere(t *testing.T) {
	err := Write(filepath.Join(t.TempDir(), "absent"), Hosts, nil)
	if err == nil {
		t.Fatal("no error for an absent directory")
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		once := ParseResolvConf(text).WithoutLoopback()
		again := ParseResolvConf(once.Render())
		if diff := cmp.Diff(once.Render(), again.Render()); diff != "" {
			t.Errorf("rendering is not stable (-once +again):\n%s", diff)
		}
	})
}

// FuzzOverride: whatever the host's file says, what is given stands in the sandbox's as it is, and the file has a line for
// each thing and no other.
func FuzzOverride(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n"), "192.0.2.9", "example.org", "timeout:1")
	f.Add([]byte("search \x00 #\nnameserver fe80::1%\x1b\n"+"\nsearch late\n"), "", "", "")
	f.Fuzz(func(t *testing.T, host []byte, server, search, option string) {
		var given ResolvConf
		if _, err := netip.ParseAddr(server); err == nil && len(strings.Fields(server)) == 1 {
			given.Servers = []string{server}
		}
		if words := strings.Fields(search); len(words) == 1 && words[0] == search {
			given.Search = words
		}
		if words := strings.Fields(option); len(words) == 1 && words[0] == option {
			given.Options = words
		}
		want := ParseResolvConf(host).WithoutLoopback().Override(given)
		text := want.Render()
		if diff := cmp.Diff(want, ParseResolvConf(text), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("file (-want +read):\n%s\n%s", diff, text)
		}
		lines := len(want.Servers) + min(len(want.Search), 1) + min(len(want.Options), 1)
		if got := bytes.Count(text, []byte("\n")); got != lines {
			t.Errorf("%d lines, want %d:\n%s", got, lines, text)
		}
	})
}

// TestLongLine: a resolver reads on behind a line that is too long for it.
func TestLongLine(t *testing.T) {
	text := "options " + strings.Repeat("x", 70_000) + "\nnameserver 192.0.2.1\n"
	if rc := ParseResolvConf([]byte(text)); len(rc.Servers) != 1 {
		t.Errorf("servers %q, want the one behind the long line", rc.Servers)
	}
}
