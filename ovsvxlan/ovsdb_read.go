package ovsvxlan

import (
	"context"
	"errors"
	"fmt"

	"github.com/ovn-kubernetes/libovsdb/client"

	"github.com/libcnm/libcnm/internal/errdefs"
)

func readRoot(ctx context.Context, c client.Client) (rootRow, error) {
	var rows []rootRow
	if err := c.List(ctx, &rows); err != nil {
		return rootRow{}, fmt.Errorf("read table %s: %w", rootTable, err)
	}
	if len(rows) != 1 {
		return rootRow{}, fmt.Errorf("read table %s: %d rows: %w", rootTable, len(rows), errdefs.ErrUnavailable)
	}
	return rows[0], nil
}

// The readers below return nil for an absent row.

func readBridge(ctx context.Context, c client.Client, name string) (*bridgeRow, error) {
	row := &bridgeRow{Name: name}
	return present(row, c.Get(ctx, row))
}

func readPort(ctx context.Context, c client.Client, name string) (*portRow, error) {
	row := &portRow{Name: name}
	return present(row, c.Get(ctx, row))
}

func readInterface(ctx context.Context, c client.Client, name string) (*interfaceRow, error) {
	row := &interfaceRow{Name: name}
	return present(row, c.Get(ctx, row))
}

func present[T any](row *T, err error) (*T, error) {
	switch {
	case errors.Is(err, client.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %T: %w", *row, err)
	}
	return row, nil
}
