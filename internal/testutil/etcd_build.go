package testutil

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/run"
)

// The first build downloads and compiles the whole of etcd.
const etcdBuildTimeout = 10 * time.Minute

// BuildEtcd returns the path of the etcd server for tests and builds it when it is missing. It is kept in the user's
// cache directory, named by what it was built from; of test binaries that run at the same time one builds and the others
// wait. It needs the network the first time, so a test that enters namespaces calls it before.
func BuildEtcd() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), etcdBuildTimeout)
	defer cancel()
	src, err := etcdSource(ctx)
	if err != nil {
		return "", err
	}
	name, err := etcdBinaryName(src)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("build etcd server: %w", err)
	}
	cache = filepath.Join(cache, "libcnm-test")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", fmt.Errorf("build etcd server: %w", err)
	}
	bin := filepath.Join(cache, name)
	unlock, err := lockFile(bin + ".lock")
	if err != nil {
		return "", fmt.Errorf("build etcd server: %w", err)
	}
	if _, err = os.Stat(bin); errors.Is(err, os.ErrNotExist) {
		err = buildEtcd(ctx, src, bin)
	}
	return bin, errors.Join(err, unlock())
}

// etcdSource finds the nested module by asking the go command, which also works for a test built with -trimpath.
func etcdSource(ctx context.Context) (string, error) {
	out, err := run.Output(ctx, nil, "go", "list", "-f", "{{.Dir}}", "github.com/libcnm/libcnm/internal/testutil")
	if err != nil {
		return "", fmt.Errorf("find source of the etcd server: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "etcdserver"), nil
}

func etcdBinaryName(src string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		data, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return "", fmt.Errorf("read source of the etcd server: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
	}
	return fmt.Sprintf("etcdserver-%x", sum.Sum(nil)[:8]), nil
}

func buildEtcd(ctx context.Context, src, bin string) error {
	tmp := bin + ".new"
	if _, err := run.Output(ctx, nil, "go", "build", "-C", src, "-buildvcs=false", "-trimpath", "-o", tmp, "."); err != nil {
		return fmt.Errorf("build etcd server: %w", err)
	}
	return os.Rename(tmp, bin)
}

// lockFile waits for the exclusive lock of a file and returns what releases it.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}
