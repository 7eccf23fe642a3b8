package ovsvxlan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Named writes the flow for people: tables have names, and the cookie is left out.
func (f Flow) Named() string {
	return strings.TrimPrefix(f.object(), "flow ") + " actions=" + namedActions(f.Actions)
}

// object names the flow by its key.
func (f Flow) object() string {
	s := fmt.Sprintf("flow table=%s priority=%d", f.Table, f.Priority)
	if f.Match != "" {
		s += " " + f.Match
	}
	return s
}

// effect says what the flow does and whose it is; nothing for nil, which is no flow.
func (f *Flow) effect() string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("cookie=%#x actions=%s", f.Cookie, namedActions(f.Actions))
}

// effect says what the group does; nothing for nil.
func (g *Group) effect() string {
	if g == nil {
		return ""
	}
	return g.Spec
}

func (g Group) object() string { return "group " + strconv.FormatUint(uint64(g.ID), 10) }

// tableRef is where an action names a table: resubmit(,80) and ct(...,table=91,...).
var tableRef = regexp.MustCompile(`(resubmit\(,|\btable=)([0-9]+)`)

func namedActions(actions string) string {
	return tableRef.ReplaceAllStringFunc(actions, func(ref string) string {
		i := strings.LastIndexAny(ref, ",=") + 1
		n, err := strconv.ParseUint(ref[i:], 10, 8)
		if err != nil { // no table has this number, so it has no name either
			return ref
		}
		return ref[:i] + Table(n).String()
	})
}
