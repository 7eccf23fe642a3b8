package veths

import (
	"context"
	"fmt"

	"github.com/libcnm/libcnm/drivers"
	"github.com/libcnm/libcnm/internal/link"
)

// The firewall keeps networks apart, and whoever flushes the host's rules takes that away until they are back. So the
// routing keeps them apart too.

// Fence makes want the driver's own fences.
func (h Host) Fence(ctx context.Context, own func(link.Fence) bool, want []link.Fence) error {
	if err := h.SetFences(ctx, own, want); err != nil {
		return fmt.Errorf("driver %s: %w", h.driver, err)
	}
	return nil
}

// CheckFence names what Fence would change.
func (h Host) CheckFence(ctx context.Context, own func(link.Fence) bool, want []link.Fence) ([]drivers.Drift, error) {
	found, err := h.CheckFences(ctx, own, want)
	if err != nil {
		return nil, fmt.Errorf("driver %s: %w", h.driver, err)
	}
	return h.Drifts(drivers.Drift{}, found), nil
}
