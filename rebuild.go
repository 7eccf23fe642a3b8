package libcnm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/libcnm/libcnm/internal/link"
	"github.com/libcnm/libcnm/store/local"
)

// WithRebuild lets New go on when the local store is damaged or gone, which New else refuses with an error that names
// the file. The damaged file is kept beside the new one, under a name that ends in the time.
//
// The new one is made from its journal and then nothing is lost: sandboxes, networks and endpoints stay as they are, and
// so does their traffic. Without a journal that can be read, only what the cluster and the host tell is known: the node
// takes its record in the cluster back, if that has the same underlay address; its endpoints leave their sandboxes; and
// sandboxes and networks of this node alone are removed from the host. The log says what was done and names each.
//
// It is for the one start that is to repair this, after a look at the cause, and not to be left in place: on a host that
// never had the node's data it would take a name over that another host with the same address still uses.
func WithRebuild() Option {
	return func(c *config) error {
		c.rebuild = true
		return nil
	}
}

// openLocal opens the local store, and rebuilds it if that is wanted and needed.
func (c *NetworkController) openLocal(ctx context.Context, cfg *config) error {
	path := filepath.Join(cfg.dataDir, "libcnm.db")
	db, err := local.Open(ctx, path)
	if cfg.rebuild && (errors.Is(err, local.ErrDamaged) || errors.Is(err, ErrInvalid)) {
		cause := err
		rebuilt, err := local.Rebuild(ctx, path)
		if err != nil {
			return errors.Join(cause, err)
		}
		c.log.Warn("local store was rebuilt", "cause", cause, "aside", rebuilt.Aside, "journal", rebuilt.Whole,
			"torn", rebuilt.Torn, "records", rebuilt.Records, "revision", rebuilt.Rev)
		if db, err = local.Open(ctx, path); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	c.local = db
	c.closers = append(c.closers, db.Close)
	return nil
}

// takeBack makes the identity in the node's record in the cluster this data directory's, which has lost it.
func (c *NetworkController) takeBack(ctx context.Context, known *nodeRecord) error {
	c.log.Warn("node takes its record in the cluster back", "node", known.Name, "instance", known.Instance)
	c.node.Instance = known.Instance
	return c.rememberIdentity(ctx, "")
}

// isLost reports whether the record is this node's own, of before its data directory was lost.
func (c *NetworkController) isLost(known *nodeRecord) bool {
	return c.unclean && known.VTEP.IsValid() && known.VTEP == c.node.VTEP
}

// disinherit makes every driver be synced, because no record says which have left something on this host. It names the
// interfaces that they will remove.
func (c *NetworkController) disinherit(ctx context.Context) error {
	for _, h := range c.drivers {
		left, err := c.links.Owned(ctx, link.DriverMark(h.info.Name))
		if err != nil {
			return err
		}
		for _, l := range left {
			owner, _ := link.ParseOwner(l.Alias)
			c.log.Warn("interface of which nothing is known is removed",
				"driver", h.info.Name, "interface", l.Name, "network", owner.Network, "endpoint", owner.Endpoint)
		}
		if err := c.markUsed(ctx, h); err != nil {
			return fmt.Errorf("driver %s: %w", h.info.Name, err)
		}
	}
	return nil
}
