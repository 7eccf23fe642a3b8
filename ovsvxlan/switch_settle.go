package ovsvxlan

import (
	"context"
	"fmt"
)

// Settle returns when ovs-vswitchd has taken notice of what became of the host's devices before the call. Of each change of
// any device the netdev datapath makes its tables of routes and tunnels anew, and what a tunnel brings while they are empty
// it hands to the host, which refuses it: a carrier that comes up would cost the new endpoint the answer to its first packet.
func (s *Switch) Settle(ctx context.Context) error {
	if s.Datapath() != DatapathNetdev {
		return nil
	}
	// A round of the daemon's main loop answers commands before it looks at devices: the second answer comes after that.
	for range 2 {
		if _, err := control(ctx, s.cfg.RunDir, "version"); err != nil {
			return fmt.Errorf("wait for ovs-vswitchd to notice devices: %w", err)
		}
	}
	return nil
}
