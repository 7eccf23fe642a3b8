package ipam

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestWalk does thousands of random things to pools and to their models.
func TestWalk(t *testing.T) {
	for i, cfg := range walks() {
		t.Run(poolTestName(cfg), func(t *testing.T) {
			for seed := range uint64(20) {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				w := newWalker(t, cfg)
				w.note("seed %d", seed)
				for range 500 {
					w.step(byte(random.Uint32()), byte(random.Uint32()))
				}
			}
		})
	}
}

// FuzzPool does to a pool and to its model what the fuzzer says.
func FuzzPool(f *testing.F) {
	for i := range walks() {
		f.Add(byte(i), []byte{0, 0, 0, 0, 2, 0, 3, 0, 4, 1, 4, 2, 5, 3, 6, 4, 7, 5, 8, 0, 16, 0})
	}
	f.Fuzz(func(t *testing.T, which byte, ops []byte) {
		w := newWalker(t, walks()[int(which)%len(walks())])
		for ; len(ops) >= 2; ops = ops[2:] {
			w.step(ops[0], ops[1])
		}
	})
}

func poolTestName(cfg Config) string {
	if cfg.Range.IsValid() {
		return fmt.Sprintf("%s in %s", cfg.Range, cfg.Subnet)
	}
	return cfg.Subnet.String()
}
