package input

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/libcnm/libcnm/store"
)

// keyForm is what the keys of both stores are made of, and the prefixes that are listed and watched.
var keyForm = func() *regexp.Regexp {
	const id, name = `[0-9a-f]{32}`, `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}`
	forms := []string{
		`subnets`, `node`, `networks/(ID)?`, `network-names/NAME`, `network-singletons/NAME`, `vnis/[1-9][0-9]{0,7}`,
		`endpoints/ID/(ID)?`, `endpoint-names/ID/NAME`, `macs/ID/([0-9a-f]{2}:){5}[0-9a-f]{2}`, `claims/ID/([0-9a-f.:]+)?`,
		`members/(NAME/(ID/(ID)?)?)?`, `nodes/(NAME)?`, `sandboxes/(ID)?`, `sandbox-containers/NAME`, `drivers/(NAME)?`,
	}
	text := `\A(` + strings.Join(forms, "|") + `)\z`
	return regexp.MustCompile(strings.NewReplacer("ID", id, "NAME", name).Replace(text))
}()

// spy is a store that looks at the keys it is asked for.
type spy struct {
	store.Store
	leaser store.Leaser

	mu      sync.Mutex // guards what follows
	strange []string
	commits int
}

func newSpy[S interface {
	store.Store
	store.Leaser
}](s S) *spy {
	return &spy{Store: s, leaser: s}
}

func (s *spy) see(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if !keyForm.MatchString(key) {
			s.strange = append(s.strange, fmt.Sprintf("%q", key))
		}
	}
}

func (s *spy) seen() (strange []string, commits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.strange, s.commits
}

func (s *spy) Get(ctx context.Context, key string) (store.Record, error) {
	s.see(key)
	return s.Store.Get(ctx, key)
}

func (s *spy) List(ctx context.Context, prefix string) ([]store.Record, store.Rev, error) {
	s.see(prefix)
	return s.Store.List(ctx, prefix)
}

func (s *spy) Watch(ctx context.Context, prefix string, after store.Rev) iter.Seq2[store.Event, error] {
	s.see(prefix)
	return s.Store.Watch(ctx, prefix, after)
}

func (s *spy) Commit(ctx context.Context, guards []store.Guard, ops ...store.Op) (store.Rev, error) {
	for _, g := range guards {
		s.see(g.Key)
	}
	for _, op := range ops {
		s.see(op.Key)
	}
	s.mu.Lock()
	s.commits++
	s.mu.Unlock()
	return s.Store.Commit(ctx, guards, ops...)
}

func (s *spy) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	return s.leaser.Grant(ctx, ttl)
}
