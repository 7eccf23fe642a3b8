package walk

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// facts are what is true, or what a call makes true; an empty value: it does not exist.
//
//	network blue              ovs-vxlan, on all hosts
//	network host1/web         bridge, on one host
//	endpoint blue/a           free, or where it is joined: host1/box1
//	sandbox host1/box1        there
type facts map[string]string

// call is one call of a controller, and all that the model knows of it.
type call struct {
	host     string
	method   string
	network  string // with the host's name before it if it is one of that host alone
	endpoint string
	box      string
	addr     string // explicit; empty: the library chooses
	force    bool
}

func (c call) String() string {
	words := []string{c.host, c.method}
	for _, w := range []string{c.network, c.endpoint, c.box, c.addr} {
		if w != "" {
			words = append(words, w)
		}
	}
	if c.force {
		words = append(words, "by force")
	}
	return strings.Join(words, " ")
}

func (c call) netKey() string { return "network " + c.network }
func (c call) epKey() string  { return "endpoint " + c.network + "/" + c.endpoint }
func (c call) boxKey() string { return "sandbox " + c.place() }
func (c call) place() string  { return c.host + "/" + c.box }

// driverOf is the driver of a network of that name.
func driverOf(network string) string {
	if strings.Contains(network, "/") {
		return "bridge"
	}
	return "ovs-vxlan"
}

// The values of facts.
const (
	there = "there"
	free  = "free"
)

// outcome is what a call that is not interrupted must come to.
type outcome struct {
	class error // nil: it succeeds
	makes facts // what it changes if it succeeds
	half  facts // what is true of the same in between, for a call of two commits
	// mayFind: it may be refused with ErrExists for an address that another endpoint has, which the model does not know.
	mayFind bool
}

// expect says what the call comes to. It is all that the library promises, in a few lines.
func (m facts) expect(c call) outcome {
	refuse := func(class error) outcome { return outcome{class: class} }
	net, ep, box := m[c.netKey()], m[c.epKey()], m[c.boxKey()]
	switch c.method {
	case "network.create":
		if net != "" {
			return refuse(errdefs.ErrExists)
		}
		return outcome{makes: facts{c.netKey(): driverOf(c.network)}}
	case "network.delete":
		if net == "" {
			return refuse(errdefs.ErrNotFound)
		}
		if len(m.endpoints(c.network)) > 0 {
			return refuse(errdefs.ErrInUse)
		}
		return outcome{makes: facts{c.netKey(): ""}}
	case "endpoint.create":
		if net == "" {
			return refuse(errdefs.ErrNotFound)
		}
		full := len(m.endpoints(c.network)) >= capacity(c.network)
		switch {
		case full && ep != "":
			return refuse(errEither)
		case full && c.addr == "":
			return refuse(errdefs.ErrExhausted)
		case ep != "" || full:
			return refuse(errdefs.ErrExists)
		}
		return outcome{makes: facts{c.epKey(): free}, mayFind: c.addr != ""}
	case "endpoint.delete":
		if net == "" || ep == "" {
			return refuse(errdefs.ErrNotFound)
		}
		if ep != free && !c.force {
			return refuse(errdefs.ErrInUse)
		}
		out := outcome{makes: facts{c.epKey(): ""}}
		if strings.HasPrefix(ep, c.host+"/") {
			out.half = facts{c.epKey(): free} // "it leaves first", says WithForce
		}
		return out
	case "sandbox.create":
		if box != "" {
			return refuse(errdefs.ErrExists)
		}
		return outcome{makes: facts{c.boxKey(): there}}
	case "sandbox.delete":
		if box == "" {
			return refuse(errdefs.ErrNotFound)
		}
		out := outcome{makes: facts{c.boxKey(): ""}}
		for _, key := range m.joined(c.place()) {
			out.makes[key] = free
		}
		return out
	case "join", "leave":
		return m.expectJoin(c, ep, box)
	}
	return outcome{} // reconcile, reopen
}

func (m facts) expectJoin(c call, ep, box string) outcome {
	switch {
	case ep == "" || box == "":
		return outcome{class: errdefs.ErrNotFound}
	case ep == c.place() && c.method == "join", ep == free && c.method == "leave":
		return outcome{}
	case c.method == "leave" && ep == c.place():
		return outcome{makes: facts{c.epKey(): free}}
	case ep != free:
		return outcome{class: errdefs.ErrInUse}
	}
	return outcome{makes: facts{c.epKey(): c.place()}}
}

// errEither stands for ErrExists or ErrExhausted: which of two reasons is seen first is not promised.
var errEither = errors.New("already exists, or exhausted")

// judge compares an answer with the outcome. It reports whether what the outcome makes is true now.
func (o outcome) judge(err error) (made bool, wrong error) {
	switch {
	case err == nil && o.class == nil:
		return true, nil
	case err == nil:
		return false, fmt.Errorf("succeeded, want %w", o.class)
	case o.mayFind && errors.Is(err, errdefs.ErrExists):
		return false, nil
	case errors.Is(o.class, errEither) && (errors.Is(err, errdefs.ErrExists) || errors.Is(err, errdefs.ErrExhausted)):
		return false, nil
	case o.class == nil || !errors.Is(err, o.class):
		return false, fmt.Errorf("want %s, got %w", class(o.class), err)
	}
	return false, nil
}

func class(err error) string {
	if err == nil {
		return "success"
	}
	return err.Error()
}

// endpoints are the keys of a network's endpoints.
func (m facts) endpoints(network string) []string {
	return m.keys(func(key, _ string) bool { return strings.HasPrefix(key, "endpoint "+network+"/") })
}

// joined are the keys of the endpoints in a sandbox.
func (m facts) joined(place string) []string {
	return m.keys(func(key, value string) bool { return strings.HasPrefix(key, "endpoint ") && value == place })
}

func (m facts) keys(match func(key, value string) bool) []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if match(key, m[key]) {
			list = append(list, key)
		}
	}
	return list
}

func (m facts) apply(made facts) {
	for key, value := range made {
		if value == "" {
			delete(m, key)
		} else {
			m[key] = value
		}
	}
}

// uses are the keys that the call depends on or changes. Two calls that share a key which one of them changes are not
// made side by side: the model could not say which was first.
func (m facts) uses(c call) (reads, writes []string) {
	reads = []string{"host " + c.host}
	switch c.method {
	case "network.create", "network.delete":
		return reads, append(m.endpoints(c.network), c.netKey(), "addresses "+c.network, "count "+c.network)
	case "endpoint.create", "endpoint.delete":
		reads, writes = append(reads, c.netKey()), []string{c.epKey()}
		if limited(c.network) || c.addr != "" {
			return reads, append(writes, "addresses "+c.network)
		}
		return append(reads, "addresses "+c.network), writes
	case "sandbox.create", "sandbox.delete":
		return reads, append(m.joined(c.place()), c.boxKey())
	case "join", "leave":
		return append(reads, c.netKey()), []string{c.epKey(), c.boxKey()}
	}
	return nil, reads
}
