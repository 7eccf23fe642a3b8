package iptables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/internal/step"
)

const (
	// restoreTimeout bounds one restore or save; lockWait, below it, how long one waits for other programs' turn.
	restoreTimeout = 30 * time.Second
	lockWait       = 20 * time.Second
	// exitResource is iptables' exit status for what may pass: another program's lock, memory, a changed ruleset.
	exitResource = 4
)

// tool is one family's iptables programs.
type tool struct {
	family Family
	name   string // of the iptables program; iptables-save and iptables-restore are called accordingly
	run    func(ctx context.Context, stdin io.Reader, name string, args ...string) ([]byte, error)
}

// detect returns the tools of the families this host has.
func detect(cfg Config) ([]tool, error) {
	names := map[Family]string{IPv4: cfg.V4, IPv6: cfg.V6}
	var tools []tool
	for _, f := range families {
		if f == IPv6 {
			switch ok, err := hasIPv6("/proc/net/if_inet6"); {
			case err != nil:
				return nil, err
			case !ok:
				continue
			}
		}
		name := names[f]
		if name == "" {
			name = f.program()
		}
		if err := probe(name); err != nil {
			return nil, err
		}
		tools = append(tools, tool{family: f, name: name, run: run.Output})
	}
	return tools, nil
}

// probe reports whether the program is there and can do what is asked of it.
func probe(name string) error {
	ipt, err := goiptables.New(goiptables.Path(name))
	if err != nil {
		return fmt.Errorf("look for %s: %w: %w", name, err, errdefs.ErrUnavailable)
	}
	major, minor, patch := ipt.GetIptablesVersion()
	if major < 1 || major == 1 && (minor < 6 || minor == 6 && patch < 2) {
		return fmt.Errorf("%s %d.%d.%d: want 1.6.2, whose restore can wait for the lock: %w",
			name, major, minor, patch, errdefs.ErrUnsupported)
	}
	return nil
}

// hasIPv6 reports whether the kernel has IPv6 at all, which is not the case with ipv6.disable=1 on its command line.
// Interfaces without IPv6, or all of them, do not matter.
func hasIPv6(path string) (bool, error) {
	switch _, err := os.Stat(path); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for IPv6: %w: %w", err, errdefs.ErrUnavailable)
	}
}

func (f Family) program() string {
	if f == IPv4 {
		return "iptables"
	}
	return "ip6tables"
}

// step names a change of the family's rules.
func (f Family) step() string {
	if f == IPv4 {
		return "change IPv4 rules"
	}
	return "change IPv6 rules"
}

// save reads all tables.
func (t tool) save(ctx context.Context) (dump, error) {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	out, err := t.run(ctx, nil, t.name+"-save")
	if err != nil {
		return nil, fmt.Errorf("read %s rules: %w: %w", t.family, err, class(err))
	}
	d, err := parseSave(out)
	if err != nil {
		return nil, fmt.Errorf("read %s rules of %s-save: %w: %w", t.family, t.name, err, errdefs.ErrUnsupported)
	}
	return d, nil
}

// restore applies a text of several tables; each table's part takes effect at once or not at all.
func (t tool) restore(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	wait := strconv.Itoa(int(lockWait / time.Second))
	err := step.Do(t.family.step(), func() error {
		_, err := t.run(ctx, strings.NewReader(text), t.name+"-restore", "--noflush", "-w", wait)
		return err
	})
	if err != nil {
		return fmt.Errorf("change %s rules: %w: %w", t.family, err, class(err))
	}
	return nil
}

// class tells what may pass from what this host cannot do.
func class(err error) error {
	var exit interface{ ExitCode() int } // *exec.ExitError; below zero: killed
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() != exitResource {
		return errdefs.ErrUnsupported
	}
	return errdefs.ErrUnavailable
}
