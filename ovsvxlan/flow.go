package ovsvxlan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// defaultPriority is the one ovs-ofctl means when a flow names none.
const defaultPriority = 0x8000

// Flow is one OpenFlow flow in canonical form, comparable. Table, Priority and Match are its key: a switch has at most
// one flow with a given key.
type Flow struct {
	Table    Table
	Priority uint16
	Match    string // sorted, protocol first; empty matches everything
	Cookie   uint64
	Actions  string
}

// ParseFlow reads a flow as ovs-ofctl writes it in dump-flows --no-stats, or as String does.
func ParseFlow(line string) (Flow, error) {
	f := Flow{Priority: defaultPriority}
	head, actions, ok := cutActions(strings.TrimSpace(line))
	if !ok {
		return Flow{}, fmt.Errorf("flow %q: no actions: %w", line, errdefs.ErrInvalid)
	}
	if actions == "" || strings.ContainsAny(actions, " \t\r\n") {
		return Flow{}, fmt.Errorf("flow %q: actions empty or with white space: %w", line, errdefs.ErrInvalid)
	}
	f.Actions = actions
	var match []string
	for _, field := range strings.FieldsFunc(head, func(r rune) bool { return r == ',' || r == ' ' }) {
		key, value, _ := strings.Cut(field, "=")
		var n uint64
		var err error
		switch key {
		case "cookie":
			f.Cookie, err = strconv.ParseUint(value, 0, 64)
		case "table":
			n, err = strconv.ParseUint(value, 0, 8)
			f.Table = Table(n)
		case "priority":
			n, err = strconv.ParseUint(value, 0, 16)
			f.Priority = uint16(n)
		case "idle_timeout", "hard_timeout":
			// Ours never time out; go-openvswitch writes the zero.
			if value != "0" {
				err = fmt.Errorf("%s: not zero", key)
			}
		default:
			match = append(match, field)
		}
		if err != nil {
			return Flow{}, fmt.Errorf("flow %q: %w: %w", line, err, errdefs.ErrInvalid)
		}
	}
	f.Match = canonicalMatch(match)
	return f, nil
}

// String writes the flow as ovs-ofctl reads it.
func (f Flow) String() string { return string(f.append(nil)) }

func (f Flow) append(b []byte) []byte {
	b = append(b, "cookie=0x"...)
	b = strconv.AppendUint(b, f.Cookie, 16)
	b = append(b, ',')
	b = f.appendKey(b)
	b = append(b, ",actions="...)
	return append(b, f.Actions...)
}

// appendKey writes what identifies the flow, as ovs-ofctl reads it for delete_strict.
func (f Flow) appendKey(b []byte) []byte {
	b = append(b, "table="...)
	b = strconv.AppendUint(b, uint64(f.Table), 10)
	b = append(b, ",priority="...)
	b = strconv.AppendUint(b, uint64(f.Priority), 10)
	if f.Match != "" {
		b = append(b, ',')
		b = append(b, f.Match...)
	}
	return b
}

// compareKeys orders flows as a reader wants them: by table, the first to match first.
func compareKeys(a, b Flow) int {
	return cmp.Or(
		cmp.Compare(a.Table, b.Table),
		cmp.Compare(b.Priority, a.Priority),
		strings.Compare(a.Match, b.Match),
	)
}

// cutActions splits a flow at its actions, which a dump sets off by a space and ovs-ofctl's input by a comma.
func cutActions(line string) (head, actions string, ok bool) {
	i := strings.Index(line, "actions=")
	if i < 0 || i > 0 && line[i-1] != ' ' && line[i-1] != ',' {
		return "", "", false
	}
	return line[:i], line[i+len("actions="):], true
}

// canonicalMatch sorts fields, protocol names (which have no value) first.
func canonicalMatch(fields []string) string {
	slices.SortFunc(fields, func(a, b string) int {
		av, bv := strings.Contains(a, "="), strings.Contains(b, "=")
		if av != bv {
			if bv {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return strings.Join(fields, ",")
}
