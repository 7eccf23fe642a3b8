package ovsvxlan

import (
	"context"
	"fmt"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// replay puts the flows back whenever the bridge is new, which it is after a restart of ovs-vswitchd. Until then
// fail-mode secure keeps networks apart by forwarding nothing, so this is the one thing that is done without asking.
func (s *Switch) replay(ctx context.Context) {
	var last uint64
	for {
		epoch, changed := s.watch.current()
		if epoch != 0 && epoch != last {
			err := s.flows.runner.do(ctx, Object{})
			if ctx.Err() != nil {
				return
			}
			if now, _ := s.watch.current(); err != nil && now == epoch { // else it is gone again
				s.log.Error("restore flows of a new bridge", "bridge", s.cfg.Bridge, "err", err)
			}
			s.probe.again()
			if last != 0 {
				s.emit(fmt.Sprintf("bridge %s is new: ovs-vswitchd restarted, or somebody made it again", s.cfg.Bridge))
			}
			last = epoch
		}
		if epoch == 0 && last != 0 && s.wantRows([]string{bridgeKey}).bridge != nil {
			s.log.Warn("lost the bridge", "bridge", s.cfg.Bridge)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// emit tells the owner to Sync, unless it has been told and did not listen yet.
func (s *Switch) emit(reason string) {
	select {
	case s.events <- reason:
	default:
	}
}

// rowChanged sees every change of the database.
func (s *Switch) rowChanged(old, row model.Model) {
	if b, ok := row.(*bridgeRow); ok && b.Name == s.cfg.Bridge {
		s.watch.hurry()
		s.settingsChanged(b)
	}
	if row != nil {
		return
	}
	var name, key string
	switch gone := old.(type) {
	case *bridgeRow:
		name, key = gone.Name, bridgeKey
	case *portRow:
		name, key = gone.Name, gone.Name
	default:
		return
	}
	if key == bridgeKey && name != s.cfg.Bridge || s.rows.wasExpected(key) {
		return
	}
	want := s.wantRows([]string{key})
	if _, port := want.ports[key]; port || key == bridgeKey && want.bridge != nil {
		s.emit(fmt.Sprintf("%s was removed from the database", name))
	}
}

// settingsChanged looks at a bridge that somebody changed. Another fail mode empties it, at once and silently.
func (s *Switch) settingsChanged(b *bridgeRow) {
	want := s.wantRows([]string{bridgeKey}).bridge
	if want == nil || !ours(b.ExternalIDs) {
		return
	}
	if deref(b.FailMode) != failMode || b.DatapathType != want.datapath {
		s.emit(fmt.Sprintf("bridge %s has other settings", b.Name))
	}
}

// bridgeIsOurs reports whether the bridge exists, works and carries our mark.
func (s *Switch) bridgeIsOurs(ctx context.Context) bool {
	c, _, err := s.db.session()
	if err != nil {
		return false
	}
	b, err := readBridge(ctx, c, s.cfg.Bridge)
	return err == nil && b != nil && ours(b.ExternalIDs) && deref(b.DatapathID) != ""
}

// updateProbes keeps the tunnel neighbours of the current members known.
func (s *Switch) updateProbes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.datapath == DatapathNetdev {
		s.probe.set(s.want.vteps())
	}
}
