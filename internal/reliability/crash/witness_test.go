package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/libcnm/libcnm/internal/step"
)

// deathNote is where a process writes the moment it dies at. The parent sees the host's /run at another place.
const deathNote = "/run/death"

// moment is one side of a step.
type moment struct {
	Step string      `json:"step"`
	Side step.Moment `json:"side"`
}

func (m moment) String() string { return string(m.Side) + " " + m.Step }

// target is the moment to die at: the one with the number Index, or the first like Like. The zero value's process lives.
type target struct {
	Index int     `json:"index,omitempty"` // from 1
	Like  *moment `json:"like,omitempty"`
}

// witness sees the moments of a process and ends it at one of them.
type witness struct {
	mu   sync.Mutex // guards what follows; held for ever by who dies, so that nobody else begins another step
	aim  target
	seen []moment
	last time.Time
}

// watch forgets what was seen and observes until unwatch.
func (w *witness) watch(aim target) {
	w.mu.Lock()
	w.aim, w.seen, w.last = aim, nil, time.Now()
	w.mu.Unlock()
	step.Observe(w.observe)
}

// unwatch ends watch and returns what was seen.
func (w *witness) unwatch() []moment {
	step.Observe(nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.aim = target{}
	return w.seen
}

func (w *witness) observe(name string, at step.Moment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := moment{Step: name, Side: at}
	w.seen, w.last = append(w.seen, m), time.Now()
	if w.aim.Index == len(w.seen) || w.aim.Like != nil && *w.aim.Like == m {
		die(m)
	}
}

// quiet reports whether nothing was seen for a while.
func (w *witness) quiet(pause time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.last) < pause {
		return errors.New("steps are still being made")
	}
	return nil
}

// die ends the process as a power cut would: nothing of ours runs any more.
func die(at moment) {
	note, err := json.Marshal(at)
	if err == nil {
		err = os.WriteFile(deathNote, note, 0o600)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "write death note: %v\n", err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		fmt.Fprintf(os.Stderr, "kill myself: %v\n", err)
	}
	select {}
}
