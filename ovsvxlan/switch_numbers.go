package ovsvxlan

import (
	"fmt"
	"maps"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// portNumbers are the OpenFlow ports of devices, also of those that only a previous process knew.
type portNumbers struct {
	byDevice map[string]uint32
	taken    map[uint32]int // how many devices have it: rows of others may claim one twice
	next     uint32         // where to look for a free number: a number just freed is the last to be used again
}

func newPortNumbers(byDevice map[string]uint32) portNumbers {
	p := portNumbers{byDevice: maps.Clone(byDevice), taken: make(map[uint32]int, len(byDevice)), next: firstNumber}
	for _, n := range byDevice {
		p.taken[n]++
	}
	return p
}

// of returns the device's number: the one it has, or the next free.
func (p *portNumbers) of(device string) (uint32, error) {
	if n, ok := p.byDevice[device]; ok {
		return n, nil
	}
	const all = lastNumber - firstNumber + 1
	for i := range uint32(all) {
		n := firstNumber + (p.next-firstNumber+i)%all
		if p.taken[n] == 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("device %s: all port numbers of the bridge are in use: %w", device, errdefs.ErrExhausted)
}

func (p *portNumbers) give(device string, n uint32) {
	p.release(device)
	p.byDevice[device] = n
	p.taken[n]++
	p.next = max(p.next, n+1)
}

func (p *portNumbers) release(device string) {
	n, ok := p.byDevice[device]
	if !ok {
		return
	}
	delete(p.byDevice, device)
	if p.taken[n]--; p.taken[n] == 0 {
		delete(p.taken, n)
	}
}
