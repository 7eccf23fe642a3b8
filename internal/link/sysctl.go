package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

// sysctlSize is as long as a value may be that is compared with what is there: a page, the kernel's limit for most.
const sysctlSize = 4096

// sysctlPath turns a key into its file. As sysctl(8) has it, parts are separated by "." or by "/", whichever comes first,
// and the other one stands for itself: net.ipv4.conf.eth0/7.rp_filter is interface eth0.7. Only keys below net. are
// taken, because only they belong to a network namespace.
func sysctlPath(key string) (string, error) {
	path := key
	if at := strings.IndexAny(key, "./"); at >= 0 && key[at] == '.' {
		path = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	parts := strings.Split(path, "/")
	if len(parts) < 2 || parts[0] != "net" {
		return "", fmt.Errorf("sysctl %q: not below net: %w", key, errdefs.ErrInvalid)
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("sysctl %q: part %q: %w", key, part, errdefs.ErrInvalid)
		}
		for i := range len(part) {
			if c := part[i]; !alphanumeric(c) && c != '_' && c != '-' && c != '.' {
				return "", fmt.Errorf("sysctl %q: character %q: %w", key, c, errdefs.ErrInvalid)
			}
		}
	}
	return sysctlRoot + path, nil
}

// CheckSysctl reports whether SetSysctl would take the key and value: without looking at the host.
func CheckSysctl(key, value string) error {
	if _, err := sysctlPath(key); err != nil {
		return err
	}
	if len(value) > sysctlSize || strings.ContainsAny(value, "\n\x00") {
		return fmt.Errorf("sysctl %s: value %.40q: %w", key, value, errdefs.ErrInvalid)
	}
	return nil
}

// SetSysctl sets a sysctl below net. of the Handle's namespace. A value that is set already is not written again. An
// unknown key is ErrNotFound, a value the kernel refuses ErrInvalid.
func (h *Handle) SetSysctl(ctx context.Context, key, value string) error {
	return h.SetSysctls(ctx, map[string]string{key: value})
}

// SetSysctls sets several, in the order of their keys, as SetSysctl does. All are checked before the first is set.
func (h *Handle) SetSysctls(ctx context.Context, values map[string]string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("set sysctls: %w", err)
	}
	for key, value := range values {
		if err := CheckSysctl(key, value); err != nil {
			return err
		}
	}
	return h.inside(func() error { return writeSysctls(values) })
}

// Sysctl reads a sysctl below net. of the Handle's namespace.
func (h *Handle) Sysctl(ctx context.Context, key string) (value string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("sysctl %s: %w", key, err)
	}
	if _, err := sysctlPath(key); err != nil {
		return "", err
	}
	err = h.inside(func() error {
		value, err = readSysctl(key)
		return err
	})
	return value, err
}

func readSysctl(key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	file, err := sysctlFiles.open(path, os.O_RDONLY)
	if err != nil {
		return "", opError("read sysctl", key, err)
	}
	raw, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", opError("read sysctl", key, err)
	}
	return strings.TrimSuffix(string(raw), "\n"), nil
}

func writeSysctls(values map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := writeSysctl(key, values[key]); err != nil {
			return err
		}
	}
	return nil
}

// writeSysctl acts on the calling thread's namespace.
func writeSysctl(key, value string) (err error) {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	file, err := sysctlFiles.open(path, os.O_RDWR)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) { // it cannot be read, or cannot be written
		if have, err := readSysctl(key); err == nil && have == value {
			return nil
		}
		file, err = sysctlFiles.open(path, os.O_WRONLY)
	}
	if err != nil {
		return opError("set sysctl", key+"="+value, err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	// Some are lists that read back differently; then writing is the only way to know.
	have := make([]byte, sysctlSize)
	if n, err := file.Read(have); err == nil && strings.TrimSuffix(string(have[:n]), "\n") == value {
		return nil
	}
	return opError("set sysctl", key+"="+value, step.Do("set sysctl", func() error {
		write := func() error {
			_, err := file.WriteAt([]byte(value), 0)
			return err
		}
		if strings.HasSuffix(key, "/disable_ipv6") {
			return inTurn(write)
		}
		return write()
	}))
}

// setIPv6 switches IPv6 on an interface of the calling thread's namespace. Where there is none it is off already.
func setIPv6(name string, on bool) error {
	value := "1"
	if on {
		value = "0"
	}
	err := writeSysctl(confKey("ipv6", name, "disable_ipv6"), value)
	if !on && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// hasIPv6 is the same in every network namespace. Where there is none, somebody may load its module.
func hasIPv6() bool {
	if !seenIPv6.Load() {
		_, err := os.Stat(sysctlRoot + "net/ipv6/conf/all")
		seenIPv6.Store(err == nil)
	}
	return seenIPv6.Load()
}

var seenIPv6 atomic.Bool

// confKey names a per-interface sysctl; "/" as the separator leaves dots in the name alone.
func confKey(family, iface, key string) string { return "net/" + family + "/conf/" + iface + "/" + key }
