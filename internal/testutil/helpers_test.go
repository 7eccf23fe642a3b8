package testutil_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/testutil"
)

// outcome runs f as a test of its own and returns whether it passed and what it printed.
func outcome(t *testing.T, f func(testutil.TB)) (passed bool, output string) {
	t.Helper()
	var log bytes.Buffer
	err := testutil.Run(t.Context(), "inner", &log, f)
	return err == nil, log.String()
}

func TestEventually(t *testing.T) {
	tries := 0
	passed, _ := outcome(t, func(tb testutil.TB) {
		testutil.Eventually(tb, time.Minute, func() error {
			if tries++; tries < 5 {
				return errors.New("not yet")
			}
			return nil
		})
	})
	if !passed || tries != 5 {
		t.Errorf("a condition that holds at the fifth try: passed %v after %d tries", passed, tries)
	}
	reached := false
	passed, output := outcome(t, func(tb testutil.TB) {
		testutil.Eventually(tb, 20*time.Millisecond, func() error { return errors.New("the door is shut") })
		reached = true
	})
	if passed || reached || !strings.Contains(output, "the door is shut") {
		t.Errorf("a condition that never holds: passed %v, went on %v, printed %q", passed, reached, output)
	}
}

func TestGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "want.txt")
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path, got string
		printed   string // empty: it passes
	}{
		{path, "one\ntwo\n", ""},
		{path, "one\nthree\n", "three"},
		{path + ".missing", "", "-update"},
	}
	if testutil.Updating() {
		return // what is compared here are no golden files of the project
	}
	for _, tt := range tests {
		passed, output := outcome(t, func(tb testutil.TB) { testutil.Golden(tb, tt.path, tt.got) })
		if passed != (tt.printed == "") || !strings.Contains(output, tt.printed) {
			t.Errorf("got %q for %s: passed %v, printed %q; want to see %q", tt.got, tt.path, passed, output, tt.printed)
		}
	}
}

func TestNoLeaks(t *testing.T) {
	passed, output := outcome(t, func(tb testutil.TB) {
		testutil.NoLeaks(tb)
		go func() { <-time.After(50 * time.Millisecond) }() // ends soon after the test
	})
	if !passed {
		t.Errorf("a test that leaks nothing fails:\n%s", output)
	}

	stop, stopped := make(chan struct{}), make(chan struct{})
	var file *os.File
	passed, output = outcome(t, func(tb testutil.TB) {
		testutil.NoLeaks(tb)
		entered := make(chan error)
		go func() {
			defer close(stopped)
			runtime.LockOSThread() // the thread ends with this goroutine, the other tests must not get it
			entered <- unix.Unshare(unix.CLONE_NEWNET)
			<-stop
		}()
		var err error
		if file, err = os.Open("/dev/zero"); err != nil {
			tb.Errorf("%v", err)
		}
		if err := <-entered; err != nil {
			tb.Errorf("%v", err)
		}
	})
	for _, leak := range []string{"goroutine ", "/dev/zero", "thread in a foreign", "TestNoLeaks.func"} {
		if passed || !strings.Contains(output, leak) {
			t.Errorf("the leak is not named %q (passed: %v):\n%s", leak, passed, output)
		}
	}
	close(stop)
	<-stopped
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

func TestLogs(t *testing.T) {
	logger, logs := testutil.NewLogs(t)
	logger.With("peer", "host2").Warn("peer gone", "network", "blue")
	logger.Debug("nothing to do")
	if err := logs.Contains("level=WARN", `msg="peer gone"`, "peer=host2", "network=blue"); err != nil {
		t.Error(err)
	}
	if err := logs.Contains("level=DEBUG", "peer=host2"); err == nil {
		t.Error("parts of two lines are taken for one line")
	}
	if strings.Contains(logs.String(), "time=") {
		t.Errorf("the time is logged:\n%s", logs)
	}
}

func TestRun(t *testing.T) {
	var order []string
	passed, output := outcome(t, func(tb testutil.TB) {
		dir := tb.TempDir()
		tb.Cleanup(func() {
			order = append(order, "first")
			if _, err := os.Stat(dir); err != nil {
				tb.Errorf("the directory is gone before a cleanup that was added later: %v", err)
			}
		})
		tb.Cleanup(func() {
			order = append(order, "second")
			tb.Cleanup(func() { order = append(order, "from a cleanup") })
			tb.Fatalf("a cleanup fails")
		})
		if tb.Context().Err() != nil {
			tb.Errorf("the context has ended too early")
		}
		tb.Cleanup(func() {
			if tb.Context().Err() == nil {
				tb.Errorf("the context has not ended before the cleanups")
			}
		})
		tb.Errorf("wrong, but going on")
		tb.Logf("went %s", "on")
		tb.Fatalf("stop here")
		order = append(order, "after the end")
	})
	if want := []string{"second", "from a cleanup", "first"}; !slices.Equal(order, want) {
		t.Errorf("order is %q, want %q", order, want)
	}
	if want := "wrong, but going on\nwent on\nstop here\na cleanup fails\n"; passed || output != want {
		t.Errorf("passed %v, printed %q; want failed and %q", passed, output, want)
	}
}

func TestRunIsInterrupted(t *testing.T) {
	cleaned := false
	var log bytes.Buffer
	err := testutil.Run(t.Context(), "inner", &log, func(tb testutil.TB) {
		tb.Cleanup(func() { cleaned = true })
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			tb.Fatalf("%v", err)
		}
		<-tb.Context().Done()
	})
	if !errors.Is(err, context.Canceled) || !cleaned {
		t.Errorf("error %v, cleaned %v; want a cancelled context and a cleanup", err, cleaned)
	}
}

func TestParseFrame(t *testing.T) {
	inner := append(frame(testutil.EtherTypeIPv4), []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 8, 0}...)
	vxlan := append([]byte{8, 0, 0, 0, 0, 0, 77, 0}, inner...)
	udp := append([]byte{0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0}, vxlan...)
	ip6 := append([]byte{0x60, 0, 0, 0, 0, 0, 17, 64}, slices.Concat(a6.Addr().AsSlice(), b6.Addr().AsSlice(), udp)...)
	f := testutil.ParseFrame(append(frame(testutil.EtherTypeIPv6), ip6...))
	if f.IPSrc != a6.Addr() || f.IPDst != b6.Addr() || f.DstPort != testutil.VXLANPort || f.VNI != 77 || f.Inner == nil {
		t.Fatalf("outer frame: %+v", f)
	}
	if f.Inner.IPSrc != a4.Addr() || f.Inner.IPDst != b4.Addr() || f.Inner.ICMPType != 8 {
		t.Errorf("inner frame: %+v", f.Inner)
	}
	arp := append(frame(testutil.EtherTypeARP), make([]byte, 28)...)
	copy(arp[28:], a4.Addr().AsSlice())
	copy(arp[38:], b4.Addr().AsSlice())
	if f := testutil.ParseFrame(arp); f.IPSrc != a4.Addr() || f.IPDst != b4.Addr() {
		t.Errorf("ARP: %+v", f)
	}
	fragment := append(frame(testutil.EtherTypeIPv4), []byte{0x45, 0, 0, 28, 0, 0, 0, 9, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2}...)
	if f := testutil.ParseFrame(fragment); f.DstPort != 0 || f.IPDst != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("a later fragment has no ports: %+v", f)
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(append(frame(testutil.EtherTypeIPv4), 0x4f))
	f.Add(append(frame(testutil.EtherTypeIPv6), make([]byte, 60)...))
	f.Fuzz(func(_ *testing.T, b []byte) { testutil.ParseFrame(b) })
}

func frame(etherType uint16) []byte {
	return append(make([]byte, 12), byte(etherType>>8), byte(etherType))
}
