package libcnm

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libcnm/libcnm/internal/link"
)

const (
	// lookRest is the least time between two looks at sandboxes that the kernel told of, and lookShare how many times as
	// long as the last one took, so that nobody inside can keep the controller busy.
	lookRest  = 250 * time.Millisecond
	lookShare = 10
	// lookEach is how many sandboxes are looked at each time the check interval has passed, for damage of which the
	// kernel tells nobody: a sysctl, or a notice that was lost.
	lookEach = 16
)

// signs are the numbers of namespaces in which something was taken away.
type signs struct {
	mu      sync.Mutex // guards numbers
	numbers map[int]bool
	some    chan struct{} // buffered, one is enough
}

func (s *signs) add(number int) {
	s.mu.Lock()
	s.numbers[number] = true
	s.mu.Unlock()
	signal(s.some)
}

func (s *signs) take() map[int]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := maps.Clone(s.numbers)
	clear(s.numbers)
	return taken
}

// watchSandboxes repairs sandboxes in which something was taken away, until the controller closes.
func (c *NetworkController) watchSandboxes() {
	ctx := c.background
	s := &signs{numbers: make(map[int]bool), some: make(chan struct{}, 1)}
	c.tasks.Go(func() { c.hearSandboxes(ctx, s) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.some:
		}
		pause(ctx, wakeSettle) // signs come in bursts
		start := time.Now()
		c.lookAround(ctx, s.take())
		pause(ctx, max(lookRest, lookShare*time.Since(start)))
	}
}

// hearSandboxes collects the signs.
func (c *NetworkController) hearSandboxes(ctx context.Context, s *signs) {
	for ctx.Err() == nil {
		numbers, err := c.links.WatchAround(ctx)
		if err != nil {
			c.log.Warn("sandboxes cannot be watched", "error", err)
			pause(ctx, followRetry)
			continue
		}
		s.add(link.Everywhere) // what happened before is not heard of
		for number, err := range numbers {
			if err != nil {
				break
			}
			s.add(number)
		}
	}
}

// lookAround repairs the sandboxes with these numbers. What it cannot do is left to a round of repair.
func (c *NetworkController) lookAround(ctx context.Context, numbers map[int]bool) {
	for _, sb := range c.state.allSandboxes() {
		if !numbers[link.Everywhere] {
			number, err := c.numberOf(ctx, sb)
			if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid) {
				c.wakeUp(cause{CauseSandbox, sb.rec.ContainerID})
				continue
			}
			if err != nil || !numbers[number] {
				continue
			}
		}
		err := c.round(ctx, func(ctx context.Context) error {
			return c.repairSandbox(ctx, sb, cause{CauseSandbox, sb.rec.ContainerID})
		})
		if err != nil && ctx.Err() == nil {
			c.wakeUp(cause{CauseSandbox, sb.rec.ContainerID})
		}
	}
}

// numberOf is the number by which the host's namespace knows the sandbox's. The kernel looks through those of all sandboxes for
// it, so that of a namespace of ours, which is kept open and so remains the same, is asked for once.
func (c *NetworkController) numberOf(ctx context.Context, sb *Sandbox) (int, error) {
	sb.mu.Lock()
	number := sb.number
	sb.mu.Unlock()
	if number != 0 {
		return number, nil
	}
	ns, err := link.OpenNS(sb.rec.NetNS)
	if err != nil {
		return 0, err
	}
	number, err = c.links.NumberOf(ctx, ns)
	if err == nil {
		sb.mu.Lock()
		if sb.ns != nil && sb.ns.Identity() == ns.Identity() {
			sb.number = number
		}
		sb.mu.Unlock()
	}
	return number, errors.Join(err, ns.Close())
}

// turn returns the sandboxes whose turn it is to be looked at though nothing told of them. It is for maintain alone.
func (c *NetworkController) turn(all []*Sandbox) []*Sandbox {
	if len(all) <= lookEach {
		return all
	}
	from := c.looked % len(all)
	c.looked = from + lookEach
	return slices.Concat(all, all)[from : from+lookEach]
}
