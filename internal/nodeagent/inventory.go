package nodeagent

import (
	"context"

	"github.com/libcnm/libcnm"
)

// NetworkContent is a network with its endpoints.
type NetworkContent struct {
	Name      string          `json:"name"`
	Driver    string          `json:"driver"`
	Endpoints []NamedEndpoint `json:"endpoints,omitempty"`
}

// NamedEndpoint is what the agent tells of an endpoint among others.
type NamedEndpoint struct {
	Name string              `json:"name"`
	Info libcnm.EndpointInfo `json:"info"`
}

// listNetworks tells of all networks that this node knows, with all their endpoints.
func (d *daemon) listNetworks(ctx context.Context, _ none) ([]NetworkContent, error) {
	c, err := d.controller()
	if err != nil {
		return nil, err
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]NetworkContent, len(networks))
	for i, n := range networks {
		list[i] = NetworkContent{Name: n.Name(), Driver: n.Driver()}
		endpoints, err := n.Endpoints(ctx)
		if err != nil {
			return nil, err
		}
		for _, ep := range endpoints {
			list[i].Endpoints = append(list[i].Endpoints, NamedEndpoint{Name: ep.Name(), Info: ep.Info()})
		}
	}
	return list, nil
}
