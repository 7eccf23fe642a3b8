package iptables

import (
	"fmt"

	"github.com/libcnm/libcnm/internal/errdefs"
)

// claims says which network has what only one may have: an interface, or a gateway's address.
type claims map[string]networkKey

// networkKey identifies a network among those of all owners. An empty id stands for the owner's tunnel ports.
type networkKey struct{ owner, id string }

func (k networkKey) String() string { return k.owner + "/" + k.id }

func (n Network) claimed() []string {
	keys := []string{"interface " + n.Interface}
	for _, g := range n.Gateways {
		keys = append(keys, "gateway "+g.String())
	}
	return keys
}

// check reports, as ErrConflict, what n wants and a network other than those that replaced selects has.
func (c claims) check(owner string, n Network, replaced func(networkKey) bool) error {
	for _, what := range n.claimed() {
		if k, taken := c[what]; taken && !replaced(k) {
			return fmt.Errorf("firewall network %s/%s: %s belongs to network %s: %w", owner, n.ID, what, k, errdefs.ErrConflict)
		}
	}
	return nil
}

func (c claims) add(owner string, n Network) {
	for _, what := range n.claimed() {
		c[what] = networkKey{owner, n.ID}
	}
}

func (c claims) remove(n Network) {
	for _, what := range n.claimed() {
		delete(c, what)
	}
}

// addAll checks and adds all of s's networks.
func (c claims) addAll(s Spec) error {
	for _, n := range s.Networks {
		self := networkKey{s.Owner, n.ID}
		if err := c.check(s.Owner, n, func(k networkKey) bool { return k == self }); err != nil {
			return err
		}
		c.add(s.Owner, n)
	}
	return nil
}
