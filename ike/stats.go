package ike

// Stats counts what the machines of one shard did. The owner of the shard reads
// it; nothing here is reset.
type Stats struct {
	// Started, Established and Failed count IKE SAs by who initiated: [0] we,
	// [1] the peer.
	Started, Established, Failed [2]uint64
}
