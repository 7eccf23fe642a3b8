package main

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/libcnm/libcnm"
)

// interval is the pause between two looks at the replicas. It also bounds how fast a command that ends at once is restarted.
const interval = time.Second

// retry calls step again and again until it is done, ctx ends, which is no error, or it fails for good.
func retry(ctx context.Context, step func() (done bool, err error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	said := ""
	for {
		done, err := step()
		switch {
		case done || ctx.Err() != nil:
			return nil
		case err == nil:
			said = ""
		case !passing(err):
			return err
		case err.Error() != said: // once, not every second
			said = err.Error()
			log.Printf("try again: %s", said)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// passing reports whether the cause of an error can go away by itself. The classes say so; the next step looks at
// everything anew, so that it does not matter how far this one came.
func passing(err error) bool {
	for _, class := range []error{
		libcnm.ErrInvalid,     // the command line is wrong,
		libcnm.ErrUnsupported, // or not for this host
		libcnm.ErrClosed,
	} {
		if errors.Is(err, class) {
			return false
		}
	}
	for _, class := range []error{
		libcnm.ErrUnavailable, // etcd or Open vSwitch is away; whether the call was carried out is not known
		libcnm.ErrExhausted,   // no free address: the other replicas run, and one may end for good
		libcnm.ErrConflict,    // somebody else changed the same thing at the same time,
		libcnm.ErrNotFound,    // or removed what we had looked up,
		libcnm.ErrExists,      // or made it first
		libcnm.ErrInUse,       // another host has a replica of this name
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}
