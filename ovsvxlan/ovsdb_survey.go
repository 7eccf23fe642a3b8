package ovsvxlan

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// survey reads the bridge with all its ports.
func (r *rows) survey(ctx context.Context) (haveRows, error) {
	c, _, err := r.db.session()
	if err != nil {
		return haveRows{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	root, err := readRoot(ctx, c)
	if err != nil {
		return haveRows{}, err
	}
	have := haveRows{
		root:           root.UUID,
		systemDatapath: slices.Contains(root.DatapathTypes, string(DatapathSystem)),
		ports:          map[string]*portRow{},
		interfaces:     map[string]*interfaceRow{},
	}
	if have.bridge, err = readBridge(ctx, c, r.bridge); err != nil || have.bridge == nil {
		return have, err
	}
	var ports []portRow
	of := make(map[string]struct{}, len(have.bridge.Ports))
	for _, uuid := range have.bridge.Ports {
		of[uuid] = struct{}{}
	}
	mine := func(p *portRow) bool { _, ok := of[p.UUID]; return ok }
	if err := c.WhereCache(mine).List(ctx, &ports); err != nil {
		return haveRows{}, fmt.Errorf("read table %s: %w", portTable, err)
	}
	for _, p := range ports {
		have.ports[p.Name] = &p
		if have.interfaces[p.Name], err = readInterface(ctx, c, p.Name); err != nil {
			return haveRows{}, err
		}
	}
	return have, nil
}

// mine reports whether the bridge exists and is ours.
func (r *rows) mine(ctx context.Context) (bool, error) {
	have, err := r.read(ctx, nil)
	return err == nil && have.bridge != nil && ours(have.bridge.ExternalIDs), err
}

// portsOf returns our ports, except the bridge's own, whose interface has value under key of its external_ids, with all
// of those; an empty value stands for any.
func (r *rows) portsOf(ctx context.Context, key, value string) (map[string]map[string]string, error) {
	have, err := r.survey(ctx)
	if err != nil || have.bridge == nil || !ours(have.bridge.ExternalIDs) {
		return nil, err
	}
	ports := map[string]map[string]string{}
	for name, p := range have.ports {
		i := have.interfaces[name]
		if name == r.bridge || i == nil || !ours(p.ExternalIDs) {
			continue
		}
		if v, ok := i.ExternalIDs[key]; ok && (value == "" || v == value) {
			ports[name] = i.ExternalIDs
		}
	}
	return ports, nil
}

// bridgeOf returns the bridge that has a port called device, and its datapath type; both are empty without.
func (r *rows) bridgeOf(ctx context.Context, device string) (name, datapath string, err error) {
	c, _, err := r.db.session()
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	port, err := readPort(ctx, c, device)
	if err != nil || port == nil {
		return "", "", err
	}
	var bridges []bridgeRow
	if err := c.WhereCache(func(b *bridgeRow) bool { return slices.Contains(b.Ports, port.UUID) }).List(ctx, &bridges); err != nil {
		return "", "", fmt.Errorf("read table %s: %w", bridgeTable, err)
	}
	if len(bridges) == 0 {
		return "", "", nil
	}
	return bridges[0].Name, bridges[0].DatapathType, nil
}

// check names what a pass over everything would change, and the ports that ovs-vswitchd could not open.
func (r *rows) check(ctx context.Context, want wantRows) ([]Difference, error) {
	have, err := r.survey(ctx)
	if err != nil {
		return nil, err
	}
	bridge := "bridge " + r.bridge
	switch mine := have.bridge != nil && ours(have.bridge.ExternalIDs); {
	case want.bridge == nil && !mine:
		return nil, nil
	case want.bridge == nil:
		return []Difference{{Object: bridge, Have: "exists"}}, nil
	case have.bridge == nil:
		return []Difference{{Object: bridge, Want: "exists"}}, nil
	case !mine:
		return []Difference{{Object: bridge, Want: "libcnm's", Have: "somebody else's"}}, nil
	}
	keys := append(slices.Collect(maps.Keys(want.ports)), bridgeKey)
	for name, p := range have.ports {
		if name != r.bridge && ours(p.ExternalIDs) {
			keys = append(keys, name)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if have, err = r.read(ctx, keys); err != nil { // also of names that stand on other bridges
		return nil, err
	}
	plans, errs := planKeys(have, want, keys)
	// Of a port that differs, the difference says more than the fault that follows from it.
	right := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return len(plans[key].diffs) > 0 })
	maps.Copy(errs, r.faults(ctx, want, right, errs))
	var out []Difference
	for _, key := range keys {
		for _, d := range plans[key].diffs {
			out = append(out, Difference{Object: d.String(), Want: d.want, Have: d.have})
		}
		if err := errs[key]; err != nil {
			out = append(out, Difference{Object: "port " + key, Want: "works", Have: err.Error()})
		}
	}
	return out, nil
}
