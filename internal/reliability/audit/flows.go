package audit

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/libcnm/libcnm/internal/errdefs"
	"github.com/libcnm/libcnm/internal/run"
	"github.com/libcnm/libcnm/ovsvxlan"
)

// auditFlows compares every flow and group of the bridge with what the records compile to.
func (a *audit) auditFlows(ctx context.Context, o *overlay) error {
	want, err := a.program(o)
	if err != nil {
		a.add(Wrong, "flows of "+overlayBridge, "there is no program for the records: %v", err)
		return nil
	}
	have, err := a.dump(ctx)
	if err != nil {
		return err
	}
	for _, d := range ovsvxlan.Diff(have, want).Differences() {
		switch {
		case d.Want == "":
			a.add(Stray, d.Object, "%s", d.Have)
		case d.Have == "":
			a.add(Missing, d.Object, "want %s", d.Want)
		default:
			a.add(Wrong, d.Object, "it is %s, want %s", d.Have, d.Want)
		}
	}
	return nil
}

// program compiles the records.
func (a *audit) program(o *overlay) (ovsvxlan.Program, error) {
	base := ovsvxlan.Base{
		TunnelPort: tunnelNumber, TunnelUDPPort: tunnelUDPPort, GatewayPort: gatewayNumber,
		GatewayMAC: ovsvxlan.MAC(gatewayPortMAC), GatewayHostMAC: ovsvxlan.MAC(gatewayHostMAC),
		TransitPrefix4: transit4, TransitPrefix6: transit6,
	}
	all, err := ovsvxlan.CompileBase(base)
	if err != nil {
		return all, err
	}
	parts := []ovsvxlan.Program{all}
	for _, n := range a.active(overlayDriver) {
		p, err := a.networkProgram(base, o, n)
		if err != nil {
			return p, err
		}
		parts = append(parts, p)
	}
	return ovsvxlan.Merge(parts...)
}

func (a *audit) networkProgram(base ovsvxlan.Base, o *overlay, n *network) (ovsvxlan.Program, error) {
	spec := ovsvxlan.Network{
		ID: n.ID, VNI: n.VNI, Zone: o.zones[n.ID], GatewayMAC: ovsvxlan.MAC(roleMAC("gateway", n.ID)), Internal: n.Internal,
	}
	for _, s := range n.Subnets {
		spec.Subnets = append(spec.Subnets, ovsvxlan.Subnet(s))
	}
	if t := o.transit(n); len(t) == 2 {
		spec.Transit4, spec.Transit6 = t[0], t[1]
	}
	members := ovsvxlan.Members{Network: n.ID}
	var parts []ovsvxlan.Program
	add := func(p ovsvxlan.Program, err error) error {
		parts = append(parts, p)
		return err
	}
	if err := add(ovsvxlan.CompileNetwork(base, spec)); err != nil {
		return ovsvxlan.Program{}, err
	}
	for _, ep := range a.endpointsOf(n) {
		e := ovsvxlan.Endpoint{ID: ep.ID, Network: n.ID, MAC: ovsvxlan.MAC(ep.MAC), Generation: uint64(ep.rev)}
		for _, p := range ep.Addrs {
			e.Addrs = append(e.Addrs, p.Addr())
		}
		var err error
		if vtep := a.peerVTEP(ep, o.vtep); vtep.IsValid() {
			members.VTEPs = append(members.VTEPs, vtep)
			err = add(ovsvxlan.CompilePeer(base, spec, ovsvxlan.Peer{
				ID: e.ID, Network: e.Network, MAC: e.MAC, Addrs: e.Addrs, VTEP: vtep, Generation: e.Generation,
			}))
		} else if e.Port = a.portNumber(ep); a.here(ep) && e.Port != 0 {
			members.Ports = append(members.Ports, e.Port)
			err = add(ovsvxlan.CompileEndpoint(base, spec, e))
		}
		if err != nil {
			return ovsvxlan.Program{}, err
		}
	}
	if err := add(ovsvxlan.CompileMembers(base, spec, members)); err != nil {
		return ovsvxlan.Program{}, err
	}
	return ovsvxlan.Merge(parts...)
}

// dump reads what is on the bridge.
func (a *audit) dump(ctx context.Context) (ovsvxlan.Program, error) {
	socket := filepath.Join(filepath.Dir(strings.TrimPrefix(a.host.OVSDB, "unix:")), overlayBridge+".mgmt")
	var out [2][]byte
	for i, args := range [][]string{{"--no-stats", "dump-flows"}, {"dump-groups"}} {
		args = append(append([]string{"-O", "OpenFlow15", "--timeout=20", "--no-names"}, args...), socket)
		text, err := run.Output(ctx, nil, "ovs-ofctl", args...)
		if err != nil {
			return ovsvxlan.Program{}, fmt.Errorf("dump bridge %s: %w: %w", overlayBridge, err, errdefs.ErrUnavailable)
		}
		out[i] = text
	}
	return ovsvxlan.ParseDump(out[0], out[1])
}
