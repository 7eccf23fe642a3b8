package testutil

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// keepFrames bounds what a capture remembers; it goes on counting.
const keepFrames = 1000

// Capture counts and keeps the frames on one link that match a filter, in both directions.
type Capture struct {
	socket *os.File
	match  func(Frame) bool
	done   sync.WaitGroup

	mu     sync.Mutex // guards all following fields
	count  int
	frames []Frame
	err    error
}

// StartCapture watches a link until the test ends or Stop. match nil means every frame.
func StartCapture(t TB, in *NS, link string, match func(Frame) bool) *Capture {
	t.Helper()
	if match == nil {
		match = func(Frame) bool { return true }
	}
	c := &Capture{match: match}
	index := in.link(t, link).Attrs().Index
	err := in.Do(func() (err error) {
		c.socket, err = packetSocket(index)
		return err
	})
	if err != nil {
		t.Fatalf("capture on %s in %s: %v", link, in.Name, err)
	}
	c.done.Go(c.read)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("capture on %s in %s: %v", link, in.Name, err)
		}
	})
	return c
}

// packetSocket opens a raw socket that sees every frame of a link, as a file that Close wakes from a read.
func packetSocket(index int) (*os.File, error) {
	const all = unix.ETH_P_ALL << 8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	membership := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, membership)
	if err == nil {
		// As much as the system allows; the kernel cuts the value itself.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

func (c *Capture) read() {
	buf := make([]byte, 1<<16)
	for {
		n, err := c.socket.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // the link was set down; frames come again when it is up
		}
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				c.mu.Lock()
				c.err = err
				c.mu.Unlock()
			}
			return
		}
		frame := ParseFrame(slices.Clone(buf[:n]))
		if !c.match(frame) {
			continue
		}
		c.mu.Lock()
		c.count++
		if len(c.frames) < keepFrames {
			c.frames = append(c.frames, frame)
		}
		c.mu.Unlock()
	}
}

// Count is how many frames have matched so far.
func (c *Capture) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// Frames returns the first thousand frames that matched.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.frames)
}

// Stop ends the capture; Count and Frames keep their answers. Stopping twice is fine.
func (c *Capture) Stop() error {
	err := c.socket.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	c.done.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		err = fmt.Errorf("read: %w", c.err)
	}
	return err
}
