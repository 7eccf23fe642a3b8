package demo

import (
	"fmt"
	"net/netip"
	"strings"
)

// answers is what was seen. A question with several different answers has been heard in several places.
type answers map[question][]answer

// asExpected says whether a question was answered by whom it should be, and by nobody else.
func (w *world) asExpected(q question, seen []answer) bool {
	want := w.expected(q)
	if want == (answer{}) {
		return len(seen) == 0
	}
	return len(seen) == 1 && seen[0] == want
}

// differences names every question that was not answered as expected.
func (w *world) differences(asked []question, seen answers) []string {
	var list []string
	for _, q := range asked {
		if !w.asExpected(q, seen[q]) {
			list = append(list, fmt.Sprintf("%s on host%d asked %s: answered by %s; expected %s",
				q.from.name(), q.from.host, q.to, spoken(seen[q]), w.expected(q)))
		}
	}
	return list
}

func spoken(seen []answer) string {
	if len(seen) == 0 {
		return answer{}.String()
	}
	texts := make([]string, len(seen))
	for i, a := range seen {
		texts[i] = a.String()
	}
	return strings.Join(texts, " and by ")
}

// A cell has a mark for IPv4 and one for IPv6, and one more if either is not as expected.
const (
	markReached = "46" // by family
	markNobody  = '.'
	markTwin    = '=' // somebody else with that address answered
	markDiffers = "!"
	cellSelf    = "-- "
	cellWidth   = 3
)

const matrixLegend = `46 answers over IPv4 and IPv6    .. nobody answers    ! not as expected
== the address exists in the asker's network too, and only its owner there answers`

// axis is one row or column: a sandbox, or the outside.
type axis struct {
	group, label string
	box          *box // nil: the outside
	addrs        [2]netip.Addr
	who          string
}

// axes are all sandboxes, in order.
func (w *world) axes() []axis {
	var list []axis
	for _, b := range w.boxes {
		list = append(list, axis{group: b.network.name, label: b.slot, box: b, addrs: b.addrs, who: b.who()})
	}
	return list
}

// perHost keeps of the axes the first or the last of each network on each host, to stand for all of them.
func perHost(all []axis, last bool) []axis {
	var list []axis
	for _, a := range all {
		a.label = fmt.Sprintf("host%d", a.box.host)
		n := len(list)
		switch {
		case n == 0 || list[n-1].group != a.group || list[n-1].label != a.label:
			list = append(list, a)
		case last:
			list[n-1] = a
		}
	}
	return list
}

// renderExpected is the matrix of what is expected, with one row and one column for a network on a host.
func (w *world) renderExpected(s style) string {
	lookup := func(q question) []answer {
		if a := w.expected(q); a != (answer{}) {
			return []answer{a}
		}
		return nil
	}
	return w.render("expected", perHost(w.axes(), false), perHost(w.axes(), true), lookup, s)
}

// renderSeen is the matrix of what was seen, with all sandboxes.
func (w *world) renderSeen(seen answers, s style) string {
	return w.render("seen", w.axes(), w.axes(), func(q question) []answer { return seen[q] }, s)
}

func (w *world) render(title string, rows, columns []axis, lookup func(question) []answer, s style) string {
	const labels = 14
	columns = append(columns, axis{group: outsideName, addrs: w.outside, who: outsideName})
	width := len(columns[0].label) + 1
	var groups, names, b strings.Builder
	for i, c := range columns {
		if i == 0 || columns[i-1].group != c.group {
			fmt.Fprintf(&groups, "%*s%s", i*width-groups.Len(), "", c.group)
		}
		fmt.Fprintf(&names, "%-*s", width, c.label)
	}
	b.WriteString(s.bold(fmt.Sprintf("%-*s%s", labels, title, groups.String())) + "\n")
	b.WriteString(s.bold(fmt.Sprintf("%-*s%s", labels, "from \\ to", strings.TrimRight(names.String(), " "))) + "\n")
	for _, from := range rows {
		b.WriteString(s.bold(fmt.Sprintf("%-*s", labels, fmt.Sprintf("%-6s %s", from.group, from.label))))
		for i, to := range columns {
			text := w.cell(from.box, to, lookup, s)
			if i == len(columns)-1 {
				b.WriteString(strings.TrimRight(text, " ") + "\n")
				continue
			}
			b.WriteString(text + strings.Repeat(" ", width-cellWidth))
		}
	}
	return b.String()
}

func (w *world) cell(from *box, to axis, lookup func(question) []answer, s style) string {
	if from == to.box {
		return s.dim(cellSelf)
	}
	differs, reached := false, false
	text := make([]byte, 0, cellWidth)
	for family, addr := range to.addrs {
		q := question{from, addr}
		mark := byte(markNobody)
		for _, a := range lookup(q) {
			mark = markTwin
			if a.who == to.who {
				mark, reached = markReached[family], true
				break
			}
		}
		text = append(text, mark)
		differs = differs || !w.asExpected(q, lookup(q))
	}
	switch {
	case differs:
		return s.bad(string(text) + markDiffers)
	case reached:
		return s.good(string(text)) + " "
	default:
		return s.dim(string(text)) + " "
	}
}
