// Package etcfiles writes the files that a container runtime mounts over /etc/hostname, /etc/hosts and
// /etc/resolv.conf of a container. Rendering is pure; Write keeps a file's inode, which is what a mount shows.
package etcfiles

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

// The names of the files in a sandbox's directory.
const (
	Hostname = "hostname"
	Hosts    = "hosts"
	Resolv   = "resolv.conf"
)

// Host is a line of a hosts file: an address and its names, the canonical one first.
type Host struct {
	Addr  netip.Addr
	Names []string
}

// RenderHosts returns a hosts file: the loopback names of both families, then the given lines in order.
func RenderHosts(hosts []Host) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, h := range hosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.Addr, strings.Join(h.Names, " "))
	}
	return b.Bytes()
}

// ResolvConf is the content of a resolv.conf. Servers are texts because they may carry a zone.
type ResolvConf struct {
	Servers []string
	Search  []string
	Options []string
}

// ParseResolvConf reads what resolv.conf(5) describes. Lines and servers that it does not are passed over, as a
// resolver would.
func ParseResolvConf(text []byte) ResolvConf {
	var rc ResolvConf
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(words[1]); err == nil {
				rc.Servers = append(rc.Servers, words[1])
			}
		case "search", "domain":
			rc.Search = slices.Clone(words[1:]) // the last one counts
		case "options":
			rc.Options = append(rc.Options, words[1:]...)
		}
	}
	return rc
}

// WithoutLoopback leaves out servers on loopback addresses: they answer on the host, and nobody does in a sandbox.
func (rc ResolvConf) WithoutLoopback() ResolvConf {
	rc.Servers = slices.DeleteFunc(slices.Clone(rc.Servers), func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err != nil || a.IsLoopback()
	})
	return rc
}

// Override replaces the parts that o has.
func (rc ResolvConf) Override(o ResolvConf) ResolvConf {
	if len(o.Servers) > 0 {
		rc.Servers = o.Servers
	}
	if len(o.Search) > 0 {
		rc.Search = o.Search
	}
	if len(o.Options) > 0 {
		rc.Options = o.Options
	}
	return rc
}

// Render returns the file's text.
func (rc ResolvConf) Render() []byte {
	var b bytes.Buffer
	for _, s := range rc.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(rc.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(rc.Search, " "))
	}
	if len(rc.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(rc.Options, " "))
	}
	return b.Bytes()
}

// mode is that of the files: they become the container's, whose users are any.
const mode = 0o644

// Write makes the file dir/name contain content, readable for all whatever the umask: it will be /etc/name of a
// container. Equal content is left alone. The file is changed in place: a container that has it mounted would go on
// seeing a replaced one.
func Write(dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read file: %w: %w", err, errdefs.ErrUnavailable)
	}
	if err != nil || !bytes.Equal(old, content) {
		if err := overwrite(path, content); err != nil {
			return fmt.Errorf("write file: %w: %w", err, errdefs.ErrUnavailable)
		}
	}
	return permit(path)
}

// permit gives the file its mode if it has another.
func permit(path string) error {
	fi, err := os.Stat(path)
	if err == nil && fi.Mode().Perm() != mode {
		err = step.Do("permit file", func() error { return os.Chmod(path, mode) })
	}
	if err != nil {
		return fmt.Errorf("permit file: %w: %w", err, errdefs.ErrUnavailable)
	}
	return nil
}

// overwrite leaves an empty file when the process dies between its two steps, or a part of content when the machine does;
// the next Write sees the difference.
func overwrite(path string, content []byte) error {
	var file *os.File
	err := step.Do("empty file", func() (err error) {
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
		return err
	})
	if err != nil {
		return err
	}
	err = step.Do("write file", func() error {
		_, err := file.Write(content)
		return err
	})
	return errors.Join(err, file.Close())
}
