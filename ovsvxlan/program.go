package ovsvxlan

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// Group is one OpenFlow group: what it does, as ovs-ofctl writes it after the group's number.
type Group struct {
	ID   uint32
	Spec string // "type=all,bucket=actions=output:11,..."
}

// String writes the group as ovs-ofctl reads it.
func (g Group) String() string { return string(g.append(nil)) }

func (g Group) append(b []byte) []byte {
	b = append(b, "group_id="...)
	b = strconv.AppendUint(b, uint64(g.ID), 10)
	b = append(b, ',')
	return append(b, g.Spec...)
}

// Program is a set of flows and groups with distinct keys. It is immutable, and the zero value is empty.
type Program struct {
	flows  []Flow  // by compareKeys
	groups []Group // by ID
}

// NewProgram puts flows and groups together. Two flows with one key, or two groups with one number, are ErrConflict.
func NewProgram(flows []Flow, groups []Group) (Program, error) {
	return newProgram(slices.Clone(flows), slices.Clone(groups))
}

// newProgram is NewProgram for slices that nobody else has.
func newProgram(flows []Flow, groups []Group) (Program, error) {
	p := Program{flows: flows, groups: groups}
	slices.SortFunc(p.flows, compareKeys)
	slices.SortFunc(p.groups, func(a, b Group) int { return cmp.Compare(a.ID, b.ID) })
	for i := 1; i < len(p.flows); i++ {
		if a, b := p.flows[i-1], p.flows[i]; compareKeys(a, b) == 0 {
			return Program{}, fmt.Errorf("%s: wanted twice, with actions %s and %s: %w",
				a.object(), a.Actions, b.Actions, errdefs.ErrConflict)
		}
	}
	for i := 1; i < len(p.groups); i++ {
		if p.groups[i-1].ID == p.groups[i].ID {
			return Program{}, fmt.Errorf("group %d: wanted twice: %w", p.groups[i].ID, errdefs.ErrConflict)
		}
	}
	return p, nil
}

// Merge puts programs together, with the errors of NewProgram.
func Merge(parts ...Program) (Program, error) {
	var flows, groups int
	for _, p := range parts {
		flows += len(p.flows)
		groups += len(p.groups)
	}
	all := Program{flows: make([]Flow, 0, flows), groups: make([]Group, 0, groups)}
	for _, p := range parts {
		all.flows = append(all.flows, p.flows...)
		all.groups = append(all.groups, p.groups...)
	}
	return newProgram(all.flows, all.groups)
}

// Flows returns the flows by table, the first to match first.
func (p Program) Flows() []Flow { return slices.Clone(p.flows) }

// Groups returns the groups by number.
func (p Program) Groups() []Group { return slices.Clone(p.groups) }

// ParseDump reads the output of ovs-ofctl -O OpenFlow15 --no-names dump-flows --no-stats, and of dump-groups.
func ParseDump(flows, groups []byte) (Program, error) {
	var p Program
	if err := eachLine(flows, func(line string) error {
		// OFPST_FLOW and NXST_FLOW replies start with a headline when statistics are on or the switch is old.
		if strings.Contains(line, "actions=") {
			f, err := ParseFlow(line)
			p.flows = append(p.flows, f)
			return err
		}
		return headline(line)
	}); err != nil {
		return Program{}, err
	}
	if err := eachLine(groups, func(line string) error {
		if strings.Contains(line, "group_id=") {
			g, err := parseGroup(line)
			p.groups = append(p.groups, g)
			return err
		}
		return headline(line)
	}); err != nil {
		return Program{}, err
	}
	return newProgram(p.flows, p.groups)
}

func eachLine(text []byte, do func(string) error) error {
	s := bufio.NewScanner(bytes.NewReader(text))
	s.Buffer(nil, 16<<20) // a group with a bucket for each of 65,000 nodes is one line
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" {
			if err := do(line); err != nil {
				return err
			}
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read dump: %w: %w", err, errdefs.ErrInvalid)
	}
	return nil
}

func headline(line string) error {
	if strings.HasPrefix(line, "OFPST_") || strings.HasPrefix(line, "NXST_") {
		return nil
	}
	return fmt.Errorf("dump line %q: neither flow nor group: %w", line, errdefs.ErrInvalid)
}

func parseGroup(line string) (Group, error) {
	head, spec, ok := strings.Cut(strings.TrimSpace(line), ",")
	number, isGroup := strings.CutPrefix(head, "group_id=")
	if !ok || !isGroup {
		return Group{}, fmt.Errorf("group %q: want group_id=N,type=...: %w", line, errdefs.ErrInvalid)
	}
	id, err := strconv.ParseUint(number, 0, 32)
	if err != nil {
		return Group{}, fmt.Errorf("group %q: %w: %w", line, err, errdefs.ErrInvalid)
	}
	// The switch numbers the buckets in the order given, so the numbers say nothing.
	const mark = "bucket=bucket_id:"
	var b strings.Builder
	for {
		before, after, found := strings.Cut(spec, mark)
		b.WriteString(before)
		if !found {
			return Group{ID: uint32(id), Spec: b.String()}, nil
		}
		b.WriteString("bucket=")
		_, spec, _ = strings.Cut(after, ",")
	}
}
