package ipam

import "crypto/sha256"

// MAC derives a hardware address from seed, which should never be used again: an endpoint's ID. It is deliberately not
// derived from an IP address. Peers cache which MAC is behind an IP and which host is behind a MAC; if the next owner
// of an IP had the same MAC, an entry left over from the one before would still match and its traffic would go to the
// wrong host (moby#52661).
//
// The address is unicast and locally administered, of the quadrant that IEEE 802c leaves to the administrator. 44 bits
// come from seed: two of 30,000 endpoints share one with a probability of 1 in 39,000.
func MAC(seed string) [6]byte {
	sum := sha256.Sum256([]byte(seed))
	mac := [6]byte(sum[:6])
	mac[0] = mac[0]&0xf0 | 0x02
	return mac
}
