package input

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libcnm/libcnm/internal/reliability/report"
)

// envSeed repeats the strings of a failure.
const envSeed = "LIBCNM_SEED"

// seed returns what the test's random choices follow from, and makes a failure say it.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(time.Now().UnixNano())
	if text := os.Getenv(envSeed); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
		s = given
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("repeat with %s=%d", envSeed, s)
		}
	})
	return s
}

// naughty returns the strings of testdata/blns.json.
func naughty(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "blns.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 485 {
		t.Fatalf("%d naughty strings, want 485", len(list))
	}
	return list
}

// corpus returns the naughty strings and generated ones.
func corpus(t *testing.T) []string {
	t.Helper()
	list := naughty(t)
	g := generator{rand.New(rand.NewPCG(seed(t), 0))}
	for range report.Pick(2_500, 100_000) {
		list = append(list, g.text())
	}
	return list
}

// generator makes strings that mean something to what libcnm speaks to.
type generator struct{ *rand.Rand }

// atoms, by the language in which they mean something.
var atoms = map[string][]string{
	"shell":   {"; ", " && ", " || ", " | ", "$(", "`", ")", "> ", "< ", "\\", "'", `"`, "#", "*", "?", "~", "!", "&", "$IFS", "${PATH}", "rm -rf /", "id", "touch /tmp/x"},
	"rule":    {" -j ", "ACCEPT", "DROP", "-A ", "-I ", "-F", "-X", "\nCOMMIT\n", "*filter\n", ":INPUT ", "--comment ", "-i ", "+", "! ", "CNM-USER", "CNM-FORWARD", "cnm+", `"`, "-m "},
	"flow":    {",actions=", "normal", "output:1", "table=0", "priority=65535", "cookie=0x1/-1", "resubmit(,0)", "in_port=", " actions=drop\n", "delete ", "add ", "reg0=0x1", "nw_dst=", "dl_src="},
	"path":    {"../", "/", "./", "..", "/etc/passwd", "/proc/self/ns/net", "/dev/null", "//", ".", "~root", "C:\\", "%2e%2e%2f", "\x00"},
	"key":     {"/libcnm/", "networks/", "claims/", "members/", "endpoints/", "nodes/", ":", "vnis/1", "subnets", "\xff"},
	"format":  {"%s", "%d", "%n", "%x", "%", "%00", "%%", "%!v", "{{.}}", "${", "{}", "[]", `{"v":1}`, "null", "true", "-1", "0x0", "1e9", "NaN"},
	"resolv":  {"\nnameserver 203.0.113.6", " search evil.example", "options ndots:15", "#", ";", "\r\n", "\t", "domain x"},
	"address": {"10.0.0.1", "::1", "fe80::1%eth0", "0.0.0.0/0", "ff:ff:ff:ff:ff:ff", "127.0.0.1", "169.254.169.254", "/24", "%"},
	"unicode": {"\u202e", "\u200b", "\ufeff", "а", "ⅷ", "Ａ", "é", "é", "\u2028", "\u0085", "😀", "\ud7ff", "\U0010ffff", "İ", "ß", "\xc0\xaf", "\xed\xa0\x80", "\xff\xfe"},
	"control": {"\x00", "\x01", "\x07", "\b", "\t", "\n", "\v", "\f", "\r", "\x1b[31m", "\x1b]0;x\x07", "\x7f", "\u009b"},
	"option":  {"-", "--", "-h", "--help", "-rf", "--net=", "-O", "--db=tcp:203.0.113.6:6640", "@/etc/passwd", "=", ","},
	"name":    {"a", "z9", "A-b", "x.y", "a_b", "0", "eth0", "lo", "all", "default", "IFNAME", "localhost", "net.ipv4.ip_forward", "cnm-int", "root", "node", "undefined"},
}

// languages are the keys of atoms in an order that does not change.
var languages = []string{"shell", "rule", "flow", "path", "key", "format", "resolv", "address", "unicode", "control", "option", "name"}

func (g generator) text() string {
	switch g.IntN(20) {
	case 0: // long
		return strings.Repeat(g.atom(), 1+g.IntN(3000))
	case 1: // any bytes
		b := make([]byte, g.IntN(64))
		for i := range b {
			b[i] = byte(g.Uint32())
		}
		return string(b)
	case 2, 3, 4: // what is allowed, or nearly
		return g.name() + g.maybe(g.atom())
	case 5: // at the limits
		return strings.Repeat("a", []int{15, 16, 62, 63, 64, 127, 128, 129, 253, 254, 1024, 1025, 4095, 4096}[g.IntN(14)])
	}
	var b strings.Builder
	for range 1 + g.IntN(6) {
		b.WriteString(g.atom())
		if g.IntN(3) == 0 {
			b.WriteString(g.name())
		}
	}
	return b.String()
}

func (g generator) atom() string {
	list := atoms[languages[g.IntN(len(languages))]]
	return list[g.IntN(len(list))]
}

func (g generator) maybe(s string) string {
	if g.IntN(2) == 0 {
		return ""
	}
	return s
}

const nameBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

func (g generator) name() string {
	b := make([]byte, 1+g.IntN(24))
	for i := range b {
		b[i] = nameBytes[g.IntN(len(nameBytes))]
	}
	return string(b)
}
