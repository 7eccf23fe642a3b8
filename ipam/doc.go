// Package ipam is address arithmetic and allocation policy: which prefixes can be a network's subnet, which address of a
// subnet to try next, which subnet to give a network that asked for none, what MAC an endpoint gets.
//
// It decides nothing durably. The truth about who owns an address is a store's, where each claim is committed in the
// transaction that needs it; a [Pool] is one process's view of the claims of one subnet, fed from a listing and a
// watch and therefore at times behind. It proposes a [Candidate], the commit is guarded on what the candidate assumes
// of the claim, and after a conflict the pool is asked again:
//
//	pool, err := ipam.NewPool(ipam.Config{Subnet: subnet, Gateway: gateway})
//	pool.Reset(listed, revision) // then pool.Observe for every event of the watch
//	for attempt := range 16 {
//		c, err := pool.Candidate(attempt) // on error: return it
//		rev, err := commit(c)             // guarded: no claim, or still the tombstone of revision c.Replaces
//		if err == nil {
//			return c.Addr, pool.Learn(ipam.Claim{Addr: c.Addr, State: ipam.Owned, Rev: rev})
//		}
//		// After a conflict: Learn the claim as it was read. In any case:
//		pool.Release(c) // and return err unless it is a conflict
//	}
//
// A freed address leaves a tombstone instead of an absent claim, so that every process knows it was used and when it
// was freed. Addresses without a claim come first; when there are none left the oldest tombstones follow.
//
// The package does not watch, log, start goroutines or read the host: host routes and other networks are told to
// [Pick] and [Conflict] by the caller.
package ipam
