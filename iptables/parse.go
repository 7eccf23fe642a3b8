package iptables

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// dump is what iptables-save printed: table name -> chain name -> chain.
type dump map[string]map[string]dumpedChain

type dumpedChain struct {
	builtin bool
	rules   []string // what follows "-A NAME "
}

// parseSave reads the output of iptables-save.
func parseSave(out []byte) (dump, error) {
	d, current := make(dump), map[string]dumpedChain(nil)
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
			continue
		case line[0] == '*':
			current = d[line[1:]]
			if current == nil {
				current = make(map[string]dumpedChain)
				d[line[1:]] = current
			}
			continue
		case current != nil && line[0] == ':':
			if f := strings.Fields(line[1:]); len(f) >= 2 {
				current[f[0]] = dumpedChain{builtin: f[1] != "-"}
				continue
			}
		case current != nil && strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[len("-A "):], " ")
			if c, declared := current[name]; declared {
				c.rules = append(c.rules, rule)
				current[name] = c
				continue
			}
		}
		return nil, fmt.Errorf("unexpected line %q", line)
	}
	return d, sc.Err()
}

// canonical returns a form that two spellings of one rule share: iptables versions and back ends differ in the order of
// options, in quoting, and in which defaults they print.
func canonical(rule string) string {
	options := splitOptions(rule)
	for i, o := range options {
		switch o.flag {
		case "-s", "-d":
			if addr, bits, ok := strings.Cut(o.value, "/"); ok && (bits == "32" && !strings.Contains(addr, ":") || bits == "128") {
				options[i].value = addr
			}
		case "--ctstate":
			states := strings.Split(o.value, ",")
			slices.Sort(states)
			options[i].value = strings.Join(states, ",")
		}
	}
	texts := make([]string, 0, len(options))
	for _, o := range options {
		if o.flag != "-m" { // said by the options of the match
			texts = append(texts, o.String())
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, "\x00") // which no rule holds, so no value can look like another option
}

// option is one option of a rule with its values.
type option struct {
	not   bool
	flag  string
	value string
}

func (o option) String() string {
	text := o.flag + " " + o.value
	if o.not {
		return "! " + text
	}
	return text
}

// splitOptions splits a rule into its options in order.
func splitOptions(rule string) []option {
	var options []option
	not := false
	for _, t := range tokens(rule) {
		switch last := len(options) - 1; {
		case t.text == "!" && !t.quoted:
			not = true
		case strings.HasPrefix(t.text, "-") && !t.quoted:
			options, not = append(options, option{not: not, flag: t.text}), false
		case last < 0:
			options = append(options, option{value: t.text})
		case options[last].value == "":
			options[last].value = t.text
		default:
			options[last].value += " " + t.text
		}
	}
	return options
}

// value returns the value of the rule's first such option.
func value(rule string, flags ...string) string {
	for _, o := range splitOptions(rule) {
		if slices.Contains(flags, o.flag) {
			return o.value
		}
	}
	return ""
}

// target returns the chain or target a rule leads to.
func target(rule string) string { return value(rule, "-j", "-g") }

// marked returns whose rule it is. An empty owner: nobody's that this package knows.
func marked(rule string) networkKey {
	parts := strings.Split(value(rule, "--comment"), ":")
	if parts[0] != jumpMark || len(parts) < 2 || len(parts) > 3 {
		return networkKey{}
	}
	k := networkKey{owner: parts[1]}
	if len(parts) == 3 {
		k.id = parts[2]
	}
	return k
}

type token struct {
	text   string
	quoted bool
}

// tokens splits a rule as iptables-restore does: at spaces outside double quotes, with backslash escapes inside them.
func tokens(rule string) []token {
	var (
		all     []token
		cur     strings.Builder
		inside  bool // a token has begun
		quoted  bool // it has or had quotes
		quoting bool
	)
	flush := func() {
		if inside {
			all = append(all, token{cur.String(), quoted})
		}
		cur.Reset()
		inside, quoted = false, false
	}
	for i := 0; i < len(rule); i++ {
		switch c := rule[i]; {
		case quoting && c == '\\' && i+1 < len(rule):
			i++
			cur.WriteByte(rule[i])
		case c == '"':
			inside, quoted, quoting = true, true, !quoting
		case c == ' ' && !quoting:
			flush()
		default:
			inside = true
			cur.WriteByte(c)
		}
	}
	flush()
	return all
}
