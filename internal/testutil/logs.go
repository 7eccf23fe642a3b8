package testutil

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// Logs keeps what was logged, for a test to look at.
type Logs struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// NewLogs returns a logger for the code under test and what it has logged, as slog text without times. When the test
// has failed, the lines become part of its output.
func NewLogs(t TB) (*slog.Logger, *Logs) {
	l := &Logs{}
	handler := slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", l.String())
		}
	})
	return slog.New(handler), l
}

// Write makes Logs the handler's destination.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Contains returns an error unless a line has all the parts, each as slog's text handler writes it: `level=WARN`,
// `msg="peer gone"`. It suits Eventually.
func (l *Logs) Contains(parts ...string) error {
	text := l.String()
lines:
	for line := range strings.Lines(text) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		return nil
	}
	return fmt.Errorf("no log line has %q in:\n%s", parts, text)
}
