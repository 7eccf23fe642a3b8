package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// Everywhere is the number for "in any namespace", when notices were lost.
const Everywhere = -1

// NumberOf returns the number by which the Handle's namespace knows ns, as WatchAround tells it. The kernel gives it when
// the first link leads there; without, it is ErrNotFound.
func (h *Handle) NumberOf(ctx context.Context, ns *NS) (number int, err error) {
	err = h.use(ctx, func(c *conn) error {
		number, err = c.GetNetNsIdByFd(ns.FD())
		if err == nil && number < 0 {
			err = unix.ENOENT
		}
		return opError("identify", "network namespace", err)
	})
	return number, err
}

// WatchAround listens in every other namespace that a link leads to from the Handle's, for signs that somebody took
// something away: an interface, an address or a route that was removed, a route that was replaced, an interface that is
// down. The sequence gives the numbers of those namespaces. It begins before WatchAround returns, is for one use, and
// ends with ctx: its last element carries ctx's error, or the one that broke the watch.
func (h *Handle) WatchAround(ctx context.Context) (iter.Seq2[int, error], error) {
	const op = "watch network namespaces"
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var socket *os.File
	err := h.inside(func() (err error) {
		socket, err = listenAround()
		return err
	})
	if err != nil {
		return nil, opError(op, "of links", err)
	}
	release := context.AfterFunc(ctx, func() { socket.Close() })
	return func(yield func(int, error) bool) {
		defer func() {
			if release() {
				socket.Close()
			}
		}()
		buf := make([]byte, 1<<16)
		for {
			numbers, err := receiveAround(socket, buf)
			switch {
			case ctx.Err() != nil:
				yield(Everywhere, fmt.Errorf("%s: %w", op, ctx.Err()))
				return
			case errors.Is(err, unix.ENOBUFS):
				numbers = []int{Everywhere}
			case err != nil:
				yield(Everywhere, opError(op, "of links", err))
				return
			}
			for _, n := range numbers {
				if !yield(n, nil) {
					return
				}
			}
		}
	}, nil
}

// listenAround opens the socket, as a file that Close wakes from a read.
func listenAround() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "rtnetlink of other namespaces")
	addr := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		addr.Groups |= 1 << (group - 1)
	}
	filter := damage()
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1),
	)
	if err == nil {
		err = unix.Bind(fd, addr)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// receiveAround waits for a datagram and returns the number of the namespace it is from, if that is another one.
func receiveAround(socket *os.File, buf []byte) ([]int, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	control := make([]byte, unix.CmsgSpace(4))
	var controlN int
	var from unix.Sockaddr
	var received error
	err = raw.Read(func(fd uintptr) bool {
		_, controlN, _, from, received = unix.Recvmsg(int(fd), buf, control, 0)
		return !errors.Is(received, unix.EAGAIN)
	})
	if err = errors.Join(err, received); err != nil {
		return nil, err
	}
	if addr, ok := from.(*unix.SockaddrNetlink); !ok || addr.Pid != 0 { // not the kernel
		return nil, nil
	}
	number, around := namespaceOf(control[:controlN])
	if !around {
		return nil, nil
	}
	return []int{number}, nil
}

// namespaceOf reads the number that the kernel adds to what comes from another namespace than the socket's.
func namespaceOf(control []byte) (int, bool) {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return Everywhere, true
	}
	for _, c := range list {
		if c.Header.Level == unix.SOL_NETLINK && c.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(c.Data) >= 4 {
			return int(int32(binary.NativeEndian.Uint32(c.Data))), true
		}
	}
	return 0, false
}

// damage is a program for the kernel that lets through what may tell of something that was taken away. What is added cannot
// be damage, unless it takes the place of a route. The kernel drops the rest, which is nearly everything, before it wakes
// anybody, and before it adds the namespace's number: that is a search among all that a link leads to, for each of the dozen
// messages about an endpoint that comes up.
func damage() []unix.SockFilter {
	const (
		typeAt     = 4                       // nlmsghdr.nlmsg_type
		flagsAt    = 6                       // nlmsghdr.nlmsg_flags
		ifiFlagsAt = unix.SizeofNlMsghdr + 8 // ifinfomsg.ifi_flags
		whole      = 1 << 16                 // how much of a message is let through
	)
	// The program reads big-endian numbers, netlink writes the machine's.
	half := func(n uint16) uint32 {
		return uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n)))
	}
	up := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, unix.IFF_UP))
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: typeAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: half(unix.RTM_DELLINK), Jt: 8},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: half(unix.RTM_DELADDR), Jt: 7},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: half(unix.RTM_DELROUTE), Jt: 6},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: half(unix.RTM_NEWROUTE), Jf: 2},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: flagsAt},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: half(unix.NLM_F_REPLACE), Jt: 3, Jf: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: half(unix.RTM_NEWLINK), Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: ifiFlagsAt},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: up, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: whole},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
}
