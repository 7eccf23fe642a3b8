package ovsvxlan

import (
	"context"
	"errors"
	"fmt"
)

// Settle returns when ovs-vswitchd has taken notice of what became of the host's devices before the call, and has judged the
// flows of its datapath by that. Of each change of any device the netdev datapath makes its tables of routes and tunnels anew,
// and what a tunnel brings while they are empty it hands to the host, which refuses it: a carrier that comes up would cost the
// new endpoint the answer to its first packet. Of a daemon that has bridges of both datapaths it is not known when it has judged
// flows: there Settle returns a moment earlier. Calls that come while another waits share the next wait.
func (s *Switch) Settle(ctx context.Context) error {
	if s.Datapath() != DatapathNetdev {
		return nil
	}
	return s.calm.do(ctx, struct{}{})
}

func (s *Switch) settlePass(ctx context.Context, keys []struct{}) map[struct{}]error {
	if err := s.settle(ctx); err != nil {
		return failAll(keys, fmt.Errorf("wait for ovs-vswitchd to notice devices: %w", err))
	}
	return nil
}

func (s *Switch) settle(ctx context.Context) error {
	// A round of the daemon's main loop answers commands before it looks at devices: what it is asked after this answer comes
	// when the tables hold what became of those devices.
	if _, err := control(ctx, s.cfg.RunDir, "version"); err != nil {
		return err
	}
	// But a revalidation that ran while they were empty may have turned the flow of a tunnel to the host, where it stays until
	// the next one: the first to end from now on may be such a one, the second is not.
	for range 2 {
		err := s.revalidate(ctx)
		if errors.Is(err, errCommandRefused) {
			s.log.Debug("ovs-vswitchd does not say when it has judged its flows", "err", err)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// revalidate returns when a revalidation has ended. By itself the daemon begins one every half a second; when asked it begins
// one 5 ms after it began the last (OVS 3.1, udpif_revalidator).
func (s *Switch) revalidate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	if _, err := s.watch.up(ctx); err != nil {
		return err
	}
	call, err := startControl(ctx, s.cfg.RunDir, "revalidator/wait")
	if err != nil {
		return err
	}
	if err := s.watch.touch(); err != nil {
		return closeWith(call, err)
	}
	_, err = call.answer()
	return err
}
