package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/libcnm/libcnm/internal/testutil"
)

const (
	walkSamples = 40
	walkTimeout = 2 * time.Second
	tracePort   = 9 // discard: no table knows it
)

// walk is what packets pay that the switch has no cached flow for: they go through the tables, and so does the answer.
type walk struct {
	Way    string        `json:"way"`
	Family int           `json:"ip"`
	Tables int           `json:"tables_on_the_way"`           // of a packet, until it is put out
	Empty  time.Duration `json:"first_with_empty_cache_ns"`   // round trip, p50
	New    time.Duration `json:"first_of_new_connection_ns"`  // from a port that was not used before
	Later  time.Duration `json:"second_ns"`                   // on the same connection
	Flows  int           `json:"flows_cached_of_connections"` // that many new connections have left in the datapath
}

// measureWalks compares the pipeline with one static flow, on one host.
func measureWalks(t testutil.TB, w *ways) []walk {
	t.Helper()
	var walks []walk
	for family := range w.overlay.own.addrs {
		own, hand := w.overlay.own, w.overlay.hand
		walks = append(walks, measureWalk(t, w.host, overlayBridge, own, family), measureWalk(t, w.host, handName, hand, family))
	}
	return walks
}

func measureWalk(t testutil.TB, h *testutil.Host, bridge string, at *way, family int) walk {
	t.Helper()
	server, err := listenUDP(at.to, at.addrs[family])
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- answer(server) }()
	defer func() {
		if err := errors.Join(server.Close(), <-ended); err != nil {
			t.Errorf("%s: %v", at.name, err)
		}
	}()
	r := walk{Way: at.name, Family: familyOf(at.addrs[family]), Tables: tables(t, h, bridge, at, family)}
	var empty, fresh, later []time.Duration
	for range walkSamples {
		h.OVS.Appctl(t, "revalidator/purge")
		first, second := connection(t, at, server)
		empty, later = append(empty, first), append(later, second)
	}
	h.OVS.Appctl(t, "revalidator/purge")
	for range walkSamples {
		first, second := connection(t, at, server)
		fresh, later = append(fresh, first), append(later, second)
	}
	r.Flows = strings.Count(h.OVS.Appctl(t, "dpctl/dump-flows"), "recirc_id(")
	r.Empty, r.New, r.Later = median(empty), median(fresh), median(later)
	return r
}

// answer sends back what comes until the socket is closed.
func answer(server *net.UDPConn) error {
	buf := make([]byte, smallPayload)
	for {
		n, from, err := server.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, err = server.WriteToUDPAddrPort(buf[:n], from)
		}
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// connection makes two round trips from a port of its own.
func connection(t testutil.TB, at *way, server *net.UDPConn) (first, second time.Duration) {
	t.Helper()
	err := func() error {
		conn, err := dialUDP(t.Context(), at.from, server)
		if err != nil {
			return err
		}
		first, err = exchange(t.Context(), conn)
		if err == nil {
			second, err = exchange(t.Context(), conn)
		}
		return errors.Join(err, conn.Close())
	}()
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	return first, second
}

func exchange(ctx context.Context, conn *net.UDPConn) (time.Duration, error) {
	if err := errors.Join(ctx.Err(), conn.SetDeadline(time.Now().Add(walkTimeout))); err != nil {
		return 0, err
	}
	buf := make([]byte, smallPayload)
	start := time.Now()
	if _, err := conn.Write(buf); err != nil {
		return 0, err
	}
	_, err := conn.Read(buf)
	return time.Since(start), err
}

// step is a line of ofproto/trace that begins with a table's number.
var step = regexp.MustCompile(`(?m)^\s*\d+\. `)

// tables counts those that a packet passes, by asking the switch what it would do with it.
func tables(t testutil.TB, h *testutil.Host, bridge string, at *way, family int) int {
	t.Helper()
	port, err := at.port(h)
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	src, dst, err := at.macs()
	if err != nil {
		t.Fatalf("%s: %v", at.name, err)
	}
	protocol, prefix := "udp", "nw"
	if at.addrs[family].Is6() {
		protocol, prefix = "udp6", "ipv6"
	}
	packet := fmt.Sprintf("in_port=%s,%s,dl_src=%s,dl_dst=%s,%s_src=%s,%s_dst=%s,nw_ttl=64,udp_src=%d,udp_dst=%d",
		port, protocol, src, dst, prefix, at.sources[family], prefix, at.addrs[family], tracePort, tracePort)
	return len(step.FindAllString(h.OVS.Appctl(t, "ofproto/trace", bridge, packet), -1))
}
