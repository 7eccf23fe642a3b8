package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/step"
)

const (
	// callTimeout bounds one call to ovsdb-server, which answers in milliseconds unless it is stopped.
	callTimeout = 5 * time.Second
	// portTimeout is what ovs-vswitchd may take for each port that comes or goes, besides. The netdev datapath closes a packet
	// socket for one that goes, which takes the kernel 12 ms: it removed a bridge with 500 in 6.3 s.
	portTimeout = 50 * time.Millisecond
	// redialDelay is short because a local connect to an absent server costs microseconds.
	redialDelay = 100 * time.Millisecond
	// connectionProbe is how often a session looks whether libovsdb lost the connection without telling.
	connectionProbe = 250 * time.Millisecond
)

// errRefused marks a transaction the server understood and rejected: repeating it would not help, leaving out the
// culprit would.
var errRefused = errors.New("refused by ovsdb-server")

// database is a connection to ovsdb-server that comes back by itself. Each connection is a new libovsdb client with
// a new cache: libovsdb's own reconnect blocks callers while it is away, and leaves rows in the cache that were
// deleted meanwhile.
type database struct {
	endpoint string
	log      *slog.Logger
	onRow    func(old, new model.Model) // a row changed; called in order, must not block

	mu      sync.Mutex // guards client and changed
	client  client.Client
	changed chan struct{} // closed and replaced when a row or the connection changes

	cancel context.CancelFunc
	done   chan struct{}
}

// openDatabase connects once, and from then on keeps connected.
func openDatabase(ctx context.Context, endpoint string, log *slog.Logger, onRow func(old, new model.Model)) (*database, error) {
	d := &database{endpoint: endpoint, log: log, onRow: onRow, changed: make(chan struct{}), done: make(chan struct{})}
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	d.set(c)
	var run context.Context
	run, d.cancel = context.WithCancel(context.Background())
	go d.supervise(run, c)
	return d, nil
}

func (d *database) dial(ctx context.Context) (client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	dbModel, err := databaseModel()
	if err != nil {
		return nil, fmt.Errorf("ovsdb model: %w", err)
	}
	c, err := client.NewOVSDBClient(dbModel, client.WithEndpoint(d.endpoint))
	if err != nil {
		return nil, fmt.Errorf("connect to ovsdb-server at %s: %w: %w", d.endpoint, err, errdefs.ErrInvalid)
	}
	if err := c.Connect(ctx); err != nil {
		return nil, fmt.Errorf("connect to ovsdb-server at %s: %w: %w", d.endpoint, err, errdefs.ErrUnavailable)
	}
	if rows := c.Cache(); rows != nil {
		rows.AddEventHandler(&cache.EventHandlerFuncs{
			AddFunc:    func(_ string, row model.Model) { d.rowChanged(nil, row) },
			UpdateFunc: func(_ string, old, row model.Model) { d.rowChanged(old, row) },
			DeleteFunc: func(_ string, row model.Model) { d.rowChanged(row, nil) },
		})
	}
	m := c.NewMonitor(monitored()...)
	// This method's updates report an inconsistent cache, and libovsdb then drops the connection, so that a new
	// client starts afresh. Those of the default method do not.
	m.Method = ovsdb.ConditionalMonitorRPC
	if _, err := c.Monitor(ctx, m); err != nil {
		c.Close()
		return nil, fmt.Errorf("monitor ovsdb-server at %s: %w: %w", d.endpoint, err, errdefs.ErrUnavailable)
	}
	return c, nil
}

func (d *database) rowChanged(old, row model.Model) {
	if d.onRow != nil {
		d.onRow(old, row)
	}
	d.mu.Lock()
	d.lockedBroadcast()
	d.mu.Unlock()
}

func (d *database) lockedBroadcast() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *database) set(c client.Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = c
	d.lockedBroadcast()
}

func (d *database) supervise(ctx context.Context, c client.Client) {
	defer close(d.done)
	for {
		lost := d.lost(ctx, c)
		d.set(nil)
		if !lost {
			c.Close()
			awaitClosed(c)
			return
		}
		d.log.Warn("lost connection to ovsdb-server", "endpoint", d.endpoint)
		var err error
		if c, err = d.redial(ctx); err != nil {
			return
		}
		d.log.Info("reconnected to ovsdb-server", "endpoint", d.endpoint)
		d.set(c)
	}
}

// lost waits for the end of c's connection (true) or of ctx (false).
func (d *database) lost(ctx context.Context, c client.Client) bool {
	probe := time.NewTicker(connectionProbe)
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-c.DisconnectNotify(): // sent only if someone receives at that instant
			return true
		case <-probe.C:
			if c.CurrentEndpoint() == "" {
				return true
			}
		}
	}
}

func (d *database) redial(ctx context.Context) (client.Client, error) {
	retry := time.NewTicker(redialDelay)
	defer retry.Stop()
	for {
		if c, err := d.dial(ctx); err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-retry.C:
		}
	}
}

// awaitClosed waits for the goroutines of a closed client, which libovsdb ends behind Close.
func awaitClosed(c client.Client) {
	deadline := time.NewTimer(callTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.CurrentEndpoint() != "" {
		select {
		case <-tick.C:
		case <-deadline.C:
			return
		}
	}
}

func (d *database) close() {
	d.cancel()
	<-d.done
}

// session returns the connected client and a channel that is closed at the next change.
func (d *database) session() (client.Client, <-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return nil, d.changed, fmt.Errorf("ovsdb-server at %s: not connected: %w", d.endpoint, errdefs.ErrUnavailable)
	}
	return d.client, d.changed, nil
}

// await evaluates ready now and after every change until it is true or errs. A connection lost meanwhile is waited for.
func (d *database) await(ctx context.Context, ready func(client.Client) (bool, error)) error {
	for {
		c, changed, err := d.session()
		if err == nil {
			ok, err := ready(c)
			if ok || err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// transact commits ops and returns the configuration number that ovs-vswitchd reports once it has taken them up. root
// is the UUID of the one row of table Open_vSwitch.
func (d *database) transact(ctx context.Context, root string, ops ...ovsdb.Operation) (cfg int, err error) {
	c, _, err := d.session()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ops = append(ops,
		mutateRoot(root, ovsdb.NewMutation("next_cfg", ovsdb.MutateOperationAdd, 1)),
		ovsdb.Operation{Op: ovsdb.OperationSelect, Table: rootTable, Columns: []string{"next_cfg"}})
	var results []ovsdb.OperationResult
	err = step.Do("commit OVSDB transaction", func() (err error) {
		results, err = c.Transact(ctx, ops...)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ovsdb transaction at %s: %w: %w", d.endpoint, err, errdefs.ErrUnavailable)
	}
	if opErrs, err := ovsdb.CheckOperationResults(results, ops); err != nil {
		for _, e := range opErrs {
			err = fmt.Errorf("%w: %w", err, e)
		}
		return 0, fmt.Errorf("ovsdb transaction at %s: %w: %w", d.endpoint, errRefused, err)
	}
	rows := results[len(ops)-1].Rows
	if len(rows) != 1 {
		return 0, fmt.Errorf("ovsdb at %s: %d rows in table %s: %w", d.endpoint, len(rows), rootTable, errdefs.ErrUnavailable)
	}
	number, ok := rows[0]["next_cfg"].(float64)
	if !ok {
		return 0, fmt.Errorf("ovsdb at %s: next_cfg is %v: %w", d.endpoint, rows[0]["next_cfg"], errdefs.ErrUnavailable)
	}
	return int(number), nil
}

// awaitApplied waits until ovs-vswitchd has taken up configuration cfg, which changes so many ports.
func (d *database) awaitApplied(ctx context.Context, cfg, ports int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout+time.Duration(ports)*portTimeout)
	defer cancel()
	err := d.await(ctx, func(c client.Client) (bool, error) {
		root, err := readRoot(ctx, c)
		return err == nil && root.CurCfg >= cfg, err
	})
	if err != nil {
		return fmt.Errorf("wait for ovs-vswitchd to take up configuration %d: %w: %w", cfg, err, errdefs.ErrUnavailable)
	}
	return nil
}
