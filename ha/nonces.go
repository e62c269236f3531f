package ha

// Nonces says how a dataplane keeps the nonces of an SA apart from those that other
// members make with the same key (I1), and so which sequence numbers we may use
// when we take an SA over.
type Nonces uint8

// The ways.
const (
	// DistinctNonces: they hold the member and its boot, or are at random. Two members
	// may use the same numbers.
	DistinctNonces Nonces = iota
	// SequenceNonces: the nonce is the sequence number. Of two such members that took
	// over from the same owner, each uses its own slice of the numbers.
	SequenceNonces
	// UnknownNonces: we send with fresh keys only, so what we take over is rekeyed.
	UnknownNonces
)

// onKeeps changes which numbers the copies here would begin with. As numbers never
// move backwards in a dataplane, they are put there anew.
func (n *Node) onKeeps(in Keeps) {
	if in.Nonces > UnknownNonces {
		in.Nonces = UnknownNonces
	}
	n.blind = in.Blind
	if n.cfg.Nonces == in.Nonces && n.unbounded == in.Unbounded {
		return
	}
	n.cfg.Nonces, n.unbounded = in.Nonces, in.Unbounded
	if n.unbounded {
		// What we have has leases that it would not heed.
		for _, t := range n.ownedBy(n.cfg.Member) {
			for _, c := range t.pairs() {
				n.wear(c, NoCeiling)
			}
		}
	}
	for _, t := range n.others() {
		for _, c := range t.pairs() {
			n.reinstall(c)
		}
	}
}

// muted tells whether our dataplane must not send on what others have used: it
// cannot keep its nonces apart, or would not stop where our share of the numbers ends.
func (n *Node) muted() bool { return n.cfg.Nonces == UnknownNonces || n.unbounded }
