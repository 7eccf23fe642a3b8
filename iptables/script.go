package iptables

import (
	"slices"
	"strings"
)

// script collects one table's lines for iptables-restore --noflush, in the order in which they must come.
type script struct {
	chains, adds, deletes, drops []string
}

// create makes a chain; an existing one fails the whole restore, so that its rules cannot be lost.
func (s *script) create(chain string) { s.chains = append(s.chains, "-N "+chain) }

// reset makes a chain, or empties it.
func (s *script) reset(chain string)        { s.chains = append(s.chains, ":"+chain+" - [0:0]") }
func (s *script) append(chain, rule string) { s.adds = append(s.adds, "-A "+chain+" "+rule) }
func (s *script) insert(chain, rule string) { s.adds = append(s.adds, "-I "+chain+" 1 "+rule) }
func (s *script) remove(chain, rule string) { s.deletes = append(s.deletes, "-D "+chain+" "+rule) }
func (s *script) drop(chain string)         { s.drops = append(s.drops, "-X "+chain) }

// maxBlock bounds the lines that one COMMIT applies. iptables-nft sends them to the kernel as one message, and without
// CAP_NET_ADMIN in the first user namespace that cannot exceed net.core.wmem_default: with its usual 212,992 bytes, 300
// of our longest rules went through and 350 did not (iptables 1.8.9).
const maxBlock = 250

// writeTo writes the table's part of the restore, if there is anything to do. A long one takes effect block by block; the
// jumps from the built-in chains come last, so new chains do nothing before they are complete.
func (s *script) writeTo(b *strings.Builder, table string) {
	for block := range slices.Chunk(slices.Concat(s.chains, s.adds, s.deletes, s.drops), maxBlock) {
		b.WriteString("*" + table + "\n")
		for _, l := range block {
			b.WriteString(l + "\n")
		}
		b.WriteString("COMMIT\n")
	}
}
