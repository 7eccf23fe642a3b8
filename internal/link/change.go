package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/step"
)

// maxBatch bounds the requests of one system call, so that their acknowledgements fit the socket's receive buffer.
const maxBatch = 64

// change is one rtnetlink request that alters something, with words for the error.
type change struct {
	*nl.NetlinkRequest
	op, object string
	absentOK   bool // deleting what is gone already is no error
	existsOK   bool // making what is there already is no error
}

func newChange(op, object string, kind, flags int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) change {
	request := nl.NewNetlinkRequest(kind, unix.NLM_F_ACK|flags)
	request.AddData(header)
	for _, a := range attrs {
		request.AddData(a)
	}
	return change{NetlinkRequest: request, op: op, object: object}
}

func (c change) deletesLink() bool { return c.Type == unix.RTM_DELLINK }

func attr(kind int, data []byte) *nl.RtAttr  { return nl.NewRtAttr(kind, data) }
func attr32(kind int, v uint32) *nl.RtAttr   { return nl.NewRtAttr(kind, nl.Uint32Attr(v)) }
func attrText(kind int, s string) *nl.RtAttr { return nl.NewRtAttr(kind, nl.ZeroTerminated(s)) }

// changeSocket carries changes, and questions. The kernel works through a whole buffer of requests inside sendto, without pause and
// even if the process is being killed, and has queued all answers when sendto returns: one system call for any number of
// changes, and no waiting.
type changeSocket struct {
	fd     int
	buffer []byte
	broken bool // an answer is missing, so that the next may not be to the next question
}

func openChangeSocket() (*changeSocket, error) {
	const op, object = "open", "netlink socket"
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, opError(op, object, err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	// Extended acknowledgements carry the kernel's own words; capped ones do not repeat the request.
	for _, option := range []int{unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, opError(op, object, err)
	}
	return &changeSocket{fd: fd, buffer: make([]byte, 16<<10)}, nil
}

func (s *changeSocket) close() { unix.Close(s.fd) }

// apply makes all changes, in order. The kernel goes on after one that fails, so only changes that do not rest on each
// other's success belong in one call; the errors of all are joined.
func (s *changeSocket) apply(changes ...change) error {
	var errs []error
	for len(changes) > 0 {
		batch := changes[:min(len(changes), maxBatch)]
		changes = changes[len(batch):]
		if err := s.applyBatch(batch); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (s *changeSocket) applyBatch(batch []change) error {
	var out []byte
	waiting := make(map[uint32]change, len(batch))
	for _, c := range batch {
		out = append(out, c.Serialize()...)
		waiting[c.Seq] = c
	}
	err := step.DoNamed(func() string { return stepName(batch) }, func() error {
		send := func() error { return unix.Sendto(s.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) }
		if slices.ContainsFunc(batch, change.deletesLink) {
			return send()
		}
		return inTurn(send)
	})
	if err != nil {
		return opError(batch[0].op, batch[0].object, err)
	}
	var errs []error
	for len(waiting) > 0 {
		answers, err := s.receive()
		if err != nil {
			return opError(batch[0].op, batch[0].object, err)
		}
		for _, answer := range answers {
			c, ok := waiting[answer.Header.Seq]
			if !ok || answer.Header.Type != unix.NLMSG_ERROR {
				continue
			}
			delete(waiting, answer.Header.Seq)
			if err := c.outcome(answer); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// receive returns the messages of one datagram; they are good until the next.
func (s *changeSocket) receive() ([]syscall.NetlinkMessage, error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buffer, unix.MSG_TRUNC) // n is how long it was, not how much of it fitted
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid != 0 {
			continue // not the kernel
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			s.broken = true
			return nil, err
		case n > len(s.buffer):
			s.broken = true
			return nil, unix.EMSGSIZE
		default:
			answers, err := syscall.ParseNetlinkMessage(s.buffer[:n])
			s.broken = s.broken || err != nil
			return answers, err
		}
	}
}

// stepName names a batch by what it does, in order: "create veth", "set up bridge, add address".
func stepName(batch []change) string {
	var names []string
	for _, c := range batch {
		op := c.op
		for _, preposition := range []string{" of", " on", " by"} {
			op = strings.TrimSuffix(op, preposition)
		}
		names = append(names, op)
	}
	return strings.Join(slices.Compact(names), ", ")
}

func (c change) outcome(answer syscall.NetlinkMessage) error {
	if len(answer.Data) < unix.SizeofNlMsgerr {
		return opError(c.op, c.object, unix.EBADMSG)
	}
	errno := unix.Errno(-int32(binary.NativeEndian.Uint32(answer.Data)))
	if errno == 0 {
		return nil
	}
	if c.existsOK && errno == unix.EEXIST {
		return nil
	}
	if c.absentOK && (errno == unix.ESRCH || errno == unix.ENODEV || errno == unix.EADDRNOTAVAIL || errno == unix.ENOENT) {
		return nil
	}
	var err error = errno
	if words := kernelWords(answer); words != "" {
		err = fmt.Errorf("%w (%s)", errno, words)
	}
	return opError(c.op, c.object, err)
}

// kernelWords finds the message of an extended acknowledgement.
func kernelWords(answer syscall.NetlinkMessage) string {
	if answer.Header.Flags&unix.NLM_F_ACK_TLVS == 0 {
		return ""
	}
	attrs, err := nl.ParseRouteAttr(answer.Data[unix.SizeofNlMsgerr:])
	if err != nil {
		return "" // the errno says enough
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.NLMSGERR_ATTR_MSG {
			return strings.TrimSuffix(unix.ByteSliceToString(a.Value), ".")
		}
	}
	return ""
}
