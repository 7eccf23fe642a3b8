package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

// config is the command line.
type config struct {
	cni   string
	out   string
	reps  int
	grow  int
	nodes []int
	parts []string
	kinds []string

	lives int
	trace bool
	setup setup
	log   io.Writer
}

// The parts of a run, by the names that -parts takes.
const (
	partLifecycle = "lifecycle"
	partForks     = "forks"
	partGrowth    = "growth"
	partRestart   = "restart"
	partOverlay   = "overlay"
	partScale     = "scale"
	partTraffic   = "traffic"
)

var parts = []string{partLifecycle, partForks, partGrowth, partRestart, partOverlay, partTraffic, partScale}

func main() {
	log.SetFlags(0)
	testutil.Enter(testutil.NeedEtcd(), testutil.Agent(new(worker).handlers()))
	cfg := config{log: os.Stderr}
	if err := cfg.parse(os.Args[1:]); err != nil {
		log.Fatalf("bench: %v", err)
	}
	if err := cfg.run(context.Background()); err != nil {
		log.Fatalf("bench: %v", err)
	}
}

func (c *config) parse(args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&c.cni, "cni", "build/bench", "`directory` with the CNI plugins bridge and host-local")
	flags.StringVar(&c.out, "out", "build/bench", "`directory` for results.json and latency.svg")
	flags.IntVar(&c.reps, "reps", 7, "how often each contender has its turn")
	flags.IntVar(&c.grow, "grow", 1000, "up to how many live endpoints latency is measured")
	numbers(flags, &c.nodes, "nodes", []int{100, 300, 1000})
	list(flags, &c.parts, "parts", parts)
	list(flags, &c.kinds, "contenders", kinds)

	// These are how the program runs itself, on a contender's host.
	flags.IntVar(&c.lives, "lives", 0, "bring this many endpoints up and down, and nothing else")
	flags.BoolVar(&c.trace, "trace", false, "with -lives: print how many processes that started")
	flags.StringVar(&c.setup.Kind, "kind", "", "with -lives: which contender")
	flags.StringVar(&c.setup.DataDir, "data", "", "with -lives: its data directory")
	flags.StringVar(&c.setup.Node, "node", "", "with -lives: its node's name")
	flags.TextVar(&c.setup.Underlay, "underlay", netip.Addr{}, "with -lives: its node's address")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || c.reps < 1 || c.grow < 0 || c.grow > 1000 {
		return fmt.Errorf("arguments %q: -reps is at least 1, -grow at most 1000, and there is nothing beside flags", args)
	}
	c.setup.CNIDir = c.cni
	return nil
}

// list is a flag that names some of all, separated by commas.
func list(flags *flag.FlagSet, to *[]string, name string, all []string) {
	*to = all
	flags.Func(name, "which, of: "+strings.Join(all, ",")+" (default all)", func(s string) error {
		*to = strings.Split(s, ",")
		for _, item := range *to {
			if !slices.Contains(all, item) {
				return fmt.Errorf("%q is not one of %q", item, all)
			}
		}
		return nil
	})
}

// numbers is a flag with the sizes of the clusters that are simulated.
func numbers(flags *flag.FlagSet, to *[]int, name string, usual []int) {
	*to = usual
	flags.Func(name, fmt.Sprintf("how many nodes the simulated clusters have, separated by commas (default %v)", usual), func(s string) error {
		*to = nil
		for item := range strings.SplitSeq(s, ",") {
			n, err := strconv.Atoi(item)
			if err != nil || n < 2 || n > maxNodes {
				return fmt.Errorf("%q is not a number of nodes from 2 to %d", item, maxNodes)
			}
			*to = append(*to, n)
		}
		return nil
	})
}

// args are the flags from which parse makes the setup again.
func (s setup) args() []string {
	return []string{"-kind", s.Kind, "-data", s.DataDir, "-cni", s.CNIDir, "-node", s.Node, "-underlay", s.Underlay.String()}
}

func (c *config) run(ctx context.Context) error {
	switch {
	case c.trace:
		forks, err := trace(append(c.setup.args(), "-lives", fmt.Sprint(c.lives)))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(os.Stdout, forks)
		return err
	case c.lives > 0:
		c.setup.Quiet = true
		return live(ctx, c.setup, c.lives)
	}
	r, failed := c.measure(ctx)
	if r == nil {
		return failed
	}
	return errors.Join(failed, r.report(os.Stdout, c.out))
}

// measure runs the parts, each with rigs of its own. What one has shown is not lost when another fails.
func (c *config) measure(ctx context.Context) (*results, error) {
	start := time.Now()
	m, err := thisMachine(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("look at this machine: %w", err)
	}
	r := &results{Machine: m, Reps: c.reps}
	var errs []error
	for _, part := range c.parts {
		err := testutil.Run(ctx, "bench "+part, c.log, func(t testutil.TB) { c.measurePart(t, part, r) })
		errs = append(errs, err)
		if errors.Is(err, context.Canceled) {
			break
		}
	}
	r.Took = time.Since(start)
	return r, errors.Join(errs...)
}

func (c *config) measurePart(t testutil.TB, part string, r *results) {
	t.Helper()
	switch part {
	case partLifecycle:
		r.Lifecycle = measureLifecycle(t, *c, newLanes(t, *c, c.kinds))
	case partForks:
		for i := range r.Lifecycle {
			r.Lifecycle[i].Forks = new(countForks(t, *c, r.Lifecycle[i].Kind))
		}
	case partGrowth:
		// Without its DNS server libnetwork grows by the same law, and takes minutes to show it.
		grown := slices.DeleteFunc(slices.Clone(c.kinds), func(kind string) bool { return kind == kindPlain })
		r.Growth = measureGrowth(t, *c, grown)
	case partRestart:
		r.Restart = measureRestart(t, *c)
	case partOverlay:
		r.Overlay = measureOverlay(t, *c)
	case partTraffic:
		r.Traffic = measureTraffic(t, *c, usualEffort(*c))
	case partScale:
		measureScale(t, *c, r)
	}
}

// progress tells whoever waits.
func (c *config) progress(format string, args ...any) {
	fmt.Fprintf(c.log, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}
