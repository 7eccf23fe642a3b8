package link

import (
	"cmp"
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// link asks for one link. The kernel also answers to alternative names; those are not the link's name.
func (c *conn) link(name string) (Link, error) {
	return c.askLink(name, 0, attrText(unix.IFLA_IFNAME, name))
}

// otherEnd asks for the other end of a veth, in whatever namespace it is; name is for the error.
func (c *conn) otherEnd(l Link, name string) (Link, error) {
	if l.peerNS < 0 {
		return c.askLink(name, l.peer)
	}
	return c.askLink(name, l.peer, attr32(unix.IFLA_TARGET_NETNSID, uint32(l.peerNS)))
}

// skipStatistics is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h: without counters a link message is half as long.
const skipStatistics = 1 << 3

func (c *conn) askLink(name string, index int, attrs ...*nl.RtAttr) (Link, error) {
	l, _, err := c.askLinkMessage(name, index, append(attrs, attr32(unix.IFLA_EXT_MASK, skipStatistics))...)
	return l, err
}

// askLinkMessage returns the message too, without its header; it is good until the next question.
func (c *conn) askLinkMessage(name string, index int, attrs ...*nl.RtAttr) (Link, []byte, error) {
	const op = "find interface"
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	request.AddData(header(index))
	for _, a := range attrs {
		request.AddData(a)
	}
	raw, err := c.changes.ask(request)
	if errors.Is(err, unix.ENODEV) {
		return Link{}, nil, classed(op, name, errdefs.ErrNotFound, "no such interface")
	}
	if err != nil {
		return Link{}, nil, opError(op, name, err)
	}
	l, err := parseLink(raw)
	if err == nil && index == 0 && l.Name != name {
		return Link{}, nil, classed(op, name, errdefs.ErrConflict, "it is an alternative name of %s", l.Name)
	}
	return l, raw, opError(op, name, err)
}

// ask sends a question that has one answer, and returns that without its header.
func (s *changeSocket) ask(request *nl.NetlinkRequest) ([]byte, error) {
	if err := unix.Sendto(s.fd, request.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	for {
		answers, err := s.receive()
		if err != nil {
			return nil, err
		}
		for _, answer := range answers {
			switch {
			case answer.Header.Seq != request.Seq: // to a question that was given up
			case answer.Header.Type != unix.NLMSG_ERROR:
				return answer.Data, nil
			default:
				return nil, refusal(answer)
			}
		}
	}
}

// dump asks for all there is of something, and calls each with one message after the other, without its header. If something
// changed meanwhile, so that some may be missing or told of twice, it is ErrDumpInterrupted in the end.
func (s *changeSocket) dump(request *nl.NetlinkRequest, each func(message []byte) error) error {
	request.Flags |= unix.NLM_F_DUMP
	if err := unix.Sendto(s.fd, request.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var failed, interrupted error
	for {
		answers, err := s.receive()
		if err != nil {
			return err
		}
		for _, answer := range answers {
			if answer.Header.Seq != request.Seq {
				continue
			}
			if answer.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
				interrupted = netlink.ErrDumpInterrupted
			}
			switch answer.Header.Type {
			case unix.NLMSG_DONE:
				return cmp.Or(failed, outcome(answer), interrupted)
			case unix.NLMSG_ERROR:
				return refusal(answer)
			}
			if failed == nil { // to the end in any case, so that the socket is free for the next question
				failed = each(answer.Data)
			}
		}
	}
}

// refusal is the errno of an answer that is none.
func refusal(answer syscall.NetlinkMessage) error {
	if len(answer.Data) < unix.SizeofNlMsgerr {
		return unix.EBADMSG
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(answer.Data)))
}

// outcome is the errno in the last message of a list, nil for none.
func outcome(done syscall.NetlinkMessage) error {
	if len(done.Data) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(done.Data)); n < 0 {
		return unix.Errno(-n)
	}
	return nil
}
