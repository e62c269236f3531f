package sim

// Sum counts what runs have played, to show that they were not idle.
type Sum struct {
	// Runs and events of the virtual clock.
	Runs, Events uint64
	// What happened to members.
	Crashes, Orphaned, Freezes, Resets, Stops uint64
	// What clients did.
	Dials, Rekeys, Moves, Deletes uint64
	// What members did: see engine.ReplicaStats and ha.Stats.
	Takeovers, Handed, Resumed, Claims, Contested, Raised, Held, Unprotected, Relayed uint64
	// Resyncs and Synced are takeovers that asked for Message IDs (RFC 6311), and
	// those that agreed on them.
	Resyncs, Synced uint64
	// Yields are the times that an operator told a member of a unit to step back, Reigns
	// and Promoted what members of units did: see ha.Stats.
	Yields, Reigns, Promoted uint64
	// Beyond are packets that left beyond the ceilings that dataplanes were told.
	Beyond uint64
	// Packets of clients, and for them; those that went from one member to another.
	Up, UpLost, Down, DownLost, Replayed, Carried uint64
	// Promises are messages that were held to I6, Kept the clients that had to go
	// on without dialing.
	Promises, Kept uint64
}
