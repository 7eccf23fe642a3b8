package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// etcdCount is what etcd says of itself at one moment. All but the last four only grow.
type etcdCount struct {
	At       time.Time
	Requests float64 // messages of clients: calls, and what they send on streams, such as keep-alives of leases
	Sent     float64 // messages to clients: answers, and batches of events
	Events   float64 // changes sent to watchers
	CPU      float64 // seconds
	Watchers float64
	Streams  float64 // that carry the watchers
	DB       float64 // bytes
	Memory   float64 // resident, bytes
}

// The names under which etcd publishes them.
func (c *etcdCount) figures() map[string]*float64 {
	return map[string]*float64{
		"grpc_server_msg_received_total":         &c.Requests,
		"grpc_server_msg_sent_total":             &c.Sent,
		"etcd_debugging_mvcc_events_total":       &c.Events,
		"process_cpu_seconds_total":              &c.CPU,
		"etcd_debugging_mvcc_watcher_total":      &c.Watchers,
		"etcd_debugging_mvcc_watch_stream_total": &c.Streams,
		"etcd_mvcc_db_total_size_in_bytes":       &c.DB,
		"process_resident_memory_bytes":          &c.Memory,
	}
}

// countEtcd asks a member that serves clients at url.
func countEtcd(ctx context.Context, url string) (c etcdCount, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, fmt.Errorf("read etcd's metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("read etcd's metrics: %s", resp.Status)
	}
	return parseEtcd(resp.Body)
}

// parseEtcd reads the text format of Prometheus, and adds up what one figure says of several methods.
func parseEtcd(text io.Reader) (c etcdCount, err error) {
	c.At = time.Now()
	figures := c.figures()
	seen := make(map[string]bool, len(figures))
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), "} ")
		if !ok {
			series, value, ok = strings.Cut(lines.Text(), " ")
		}
		name, _, _ := strings.Cut(series, "{")
		to := figures[name]
		if !ok || to == nil {
			continue
		}
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return c, fmt.Errorf("read etcd's metrics: %s: %w", name, err)
		}
		*to += f
		seen[name] = true
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("read etcd's metrics: %w", err)
	}
	for name := range figures {
		if !seen[name] {
			return c, fmt.Errorf("read etcd's metrics: it has no %s", name)
		}
	}
	return c, nil
}

// etcdLoad is what etcd did in a phase of the measurement.
type etcdLoad struct {
	Requests float64 `json:"requests_per_s"`
	Sent     float64 `json:"messages_to_clients_per_s"`
	Events   float64 `json:"events_to_watchers_per_s"`
	CPU      float64 `json:"cpus"` // 1: one of them is busy with it all the time
	Watchers int     `json:"watchers"`
	Streams  int     `json:"watch_streams"`
	DB       int64   `json:"database_bytes"`
	Memory   int64   `json:"memory_bytes"`
}

func (c etcdCount) since(before etcdCount) etcdLoad {
	s := c.At.Sub(before.At).Seconds()
	return etcdLoad{
		Requests: (c.Requests - before.Requests) / s, Sent: (c.Sent - before.Sent) / s, Events: (c.Events - before.Events) / s,
		CPU: (c.CPU - before.CPU) / s, Watchers: int(c.Watchers), Streams: int(c.Streams), DB: int64(c.DB), Memory: int64(c.Memory),
	}
}
