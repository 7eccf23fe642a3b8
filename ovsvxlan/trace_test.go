package ovsvxlan_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/libcnm/libcnm/ovsvxlan"
)

// verdictMark starts the line with what becomes of a probe's frame.
const verdictMark = "=> "

var (
	visited  = regexp.MustCompile(`^ *([0-9]+)\. (?:.*\bpriority ([0-9]+)|No match)`)
	sentTo   = regexp.MustCompile(`^(?:output:|-> output port is )([0-9]+)$`)
	tunnelTo = regexp.MustCompile(`^set_field:(.*)->(tun_id|tun_dst|tun_ipv6_dst)$`)
)

// verdict reads the output of ofproto/trace: where the frame went and what was changed in it, or the table and
// priority of the flow that dropped it or has it held.
func verdict(trace string, base ovsvxlan.Base) string {
	var (
		sent          []string
		lost          = "drop"
		tunnel        []string // set since the last output
		at            string
		before, after string
	)
	for line := range strings.Lines(trace) {
		if m := visited.FindStringSubmatch(line); m != nil {
			at = tableName(m[1]) + " " + m[2]
			continue
		}
		line = strings.TrimSpace(line)
		if flow, ok := strings.CutPrefix(line, "Flow: "); ok && before == "" {
			before = flow
		}
		if flow, ok := strings.CutPrefix(line, "Final flow: "); ok {
			after = flow
		}
		if m := tunnelTo.FindStringSubmatch(line); m != nil {
			tunnel = append(tunnel, m[2]+"="+m[1])
		}
		if m := sentTo.FindStringSubmatch(line); m != nil {
			where := "output " + m[1]
			if m[1] == fmt.Sprint(base.TunnelPort) {
				where += " " + strings.Join(tunnel, ",")
			}
			sent, tunnel = append(sent, where), nil
		}
		switch {
		case strings.HasPrefix(line, "controller(") && strings.HasSuffix(line, "pause)"):
			lost = "held"
		case line == "IN_PORT":
			sent = append(sent, "reply")
		case strings.HasPrefix(line, ">> skipping output to input port"):
			sent = sent[:len(sent)-1]
		}
	}
	if len(sent) == 0 {
		return lost + " at " + at
	}
	return strings.Join(append(sent, changedFields(before, after)...), "; ")
}

// tableName returns the name of a table given by its number.
func tableName(number string) string {
	n, err := strconv.ParseUint(number, 10, 8)
	if err != nil {
		return number
	}
	return ovsvxlan.Table(n).String()
}

// changedFields returns the header fields that differ, as "set field=value,...".
func changedFields(before, after string) []string {
	if after == "unchanged" {
		return nil
	}
	old := strings.Split(before, ",")
	set := slices.DeleteFunc(strings.Split(after, ","), func(field string) bool {
		name, _, _ := strings.Cut(field, "=")
		// Registers, tunnel and connection state are the switch's own, not the frame's.
		return slices.Contains(old, field) || strings.HasPrefix(name, "reg") || strings.HasPrefix(name, "tun_") ||
			strings.HasPrefix(name, "ct_") || strings.HasPrefix(name, "gtpu_") || name == "recirc_id" || name == "eth"
	})
	if len(set) == 0 {
		return nil
	}
	return []string{"set " + strings.Join(set, ",")}
}
