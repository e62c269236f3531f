// Package ha replicates tunnels between 2 to 16 members, each of which owns some
// and stands by for the rest, so that any of them can die and no tunnel does.
//
// Node is a pure state machine: Step(now, Input) returns a Ready, the work in
// the order in which it must be done. It holds no socket, clock, goroutine or
// lock. Package hatest plays whole clusters of it from a seed; transport carries
// its frames, witness tells the network of its Health.
//
// # Tunnels, owners, epochs
//
// A tunnel is an IKE SA and its Child SAs. Its owner sends; all others hold a
// copy: the IKE SA's snapshot, and the SAs in the dataplane with role standby.
// The owner is the member that an Epoch names, and a higher epoch wins. Only the
// owner hands a tunnel to others, so a member that has a copy has had it from
// one that owned it. A Version (epoch, count of changes) tells how new a copy is.
//
// # Records and streams
//
// What members tell each other are records of full state, never differences.
// They travel on one stream for each pair and direction, in order and each once,
// over frames that may be lost, late, doubled or reordered (stream.go). A stream
// begins with a Hello and ends with a life, a death, or with a queue that is too
// long: a slow member falls out and syncs again, it never blocks others. An Ack
// says that records have been carried out, dataplane included, but for what the
// acknowledging member has told otherwise before (Ack.After).
//
// A member syncs by digests: the owner sums up what the other should hold, the
// other wants the parts that differ, gets them at the pace of its window, and
// Synced at the end (sync.go). The same comparison runs now and then while all is
// well, and should find nothing.
//
// # Why it is safe
//
// Each invariant, with what it rests on. All assume that a Ready is carried out
// in order, that dataplanes do what package offload specifies, and that a new
// life begins with a dataplane that is silent, or with one that has outlived the last
// life (Plane.Left).
//
// I1, no (key, nonce) pair twice; I2, sequence numbers are leased. Numbers of an
// outbound SA come in leases of Config.Lease. Let bound(h) be the number at or
// below which a holder h never starts.
//
//   - An owner that made the SA sends up to its ceiling only. The ceiling rises
//     to X when every member that was ever entrusted with the key has answered
//     Propose with Grant: bound(h) >= X, in its dataplane too. A member that is
//     away cannot grant, so the ceiling stays, and the SA gets new keys in good
//     time instead (Rekey): fresh keys are always safe. There is no other set of
//     members to reason about: neither who is alive nor who is thought to be.
//     Who is entrusted later gets a bound that is not below what was proposed.
//   - So whoever takes over, in whatever part of a divided network, starts above
//     everything that the maker has sent or will ever send.
//   - Whoever takes over uses one lease above its bound without asking: it must,
//     as it has nobody to ask. With SequenceNonces it uses but its own sixteenth
//     of it, so that two successors that do not know of each other never use the
//     same number. Otherwise they may, and the dataplane keeps nonces apart by
//     the member and boot number in the IV; the peer drops the duplicates, and
//     the winner moves above (contest).
//   - Every order that raises a ceiling says above which number the owner sends. The
//     dataplane may not have had the SA when it was told first: where a pair is in use
//     step by step, others hold its outbound SA before the owner sends on it.
//   - More than that one lease needs a Grant of every configured member, as a
//     successor cannot know whom the maker had entrusted. A holder that may have
//     used numbers itself says so (Refuse), and the owner goes above them.
//   - A dataplane that stops at no ceiling (Keeps.Unbounded) has no part in leases.
//     Its owner has all numbers of an SA, so its successors have none and rekey; and
//     it sends nothing on what it takes over, which is rekeyed too.
//   - A dataplane that is armed starts by itself, and what it reports may be late
//     or lost in a disarming. So numbers that it could have used count as used
//     (child.used) until the owner has gone above them.
//   - A new life knows nothing of what the old one has sent. It tells what was
//     Armed when it ended, which is on disk before the dataplane is armed. Where
//     an owner that the tunnel has had is among that, or the disk is another
//     one, the member is barred from the SA for good, the SA's ceiling stays, and
//     its owner is asked for new keys, which that member may have. Otherwise the
//     old life cannot have sent without the owner's consent, and the new one is
//     asked like any holder: it may have owned the tunnel where the owner could not
//     hear it. The mark is taken off the disk when every configured member has
//     acknowledged all that came of the arming.
//
// I3, an epoch is on disk before it is used: HardState.Count and Armed are in
// the Ready.Hard of the step that arms or claims. The first of them says why it
// must be: without, a new life would deny what the old one did.
//
// I4, no warm takeover without a complete snapshot: a member arms the group of
// another only when it has had everything of that one's life, and is not Syncing
// itself, and claims only tunnels all of whose parts the dataplane has taken. An
// owner that dies while its stream begins anew, after it was missed for a moment,
// is followed on the copies that were complete before: they may be older than
// what its peers know, and are better than none.
//
// I5, a lower epoch changes nothing: records that come under an older epoch than
// the copy's are answered with Owned, and orders to the dataplane carry epochs
// made of what is on disk, which never falls.
//
// I6, the peer never hears of what a failover would lose: Commit covers an Index
// when Config.MinAcks live synced members have acknowledged it, or all that
// there are, or the time is up; the latter two are counted as unprotected. A
// record that was refused because of its epoch is not acknowledged in that
// sense: the note that says so comes before the Ack. A claim is made from the
// copy that is at hand; who has a newer one supplies it before the claim is
// acknowledged, and the IKE SA is not brought to life before that (Restore). Where
// the last owner may have gone on without us, Restored.Behind says so.
//
// I7, a standby sends nothing: SAs are installed as standby and become active by
// an arming or a claim only; who loses a tunnel stops with the orders of that
// step, and grants nothing before they are carried out. One that gave it to a
// successor before a stop sends what others give it, up to its old ceiling, until
// all know (handover.go).
//
// I8, one owner after a heal, and no removed tunnel comes back: epochs never
// tie, every claim reaches every member that shares the connection, and a lower
// one is answered. A removal that the peer knows of (Final) beats all epochs;
// another one beats its own and lower ones, because who has claimed since may
// have the peer. A member that goes on with a tunnel of its last life has not claimed
// it since: its copy is as old as it was then, and so is what it knows of the numbers
// that others have used (estate.go). Tombstones last longer than an IKE SA. They are
// kept in memory: a removal is forgotten when all that knew of it lose theirs. Where
// the peer asked for the end, its answer lies with the tombstone for some minutes:
// whoever it asks again, because the owner died before it answered, gives the same one.
//
// I9, a takeover accepts nothing again that was accepted before the last
// checkpoint: Counters carry replay windows, standbys import them, and imports
// only ever mark.
//
// # Who takes over
//
// A packet decides. A dead owner's group is armed at every survivor; the first
// packet of a tunnel starts it in the dataplane that it comes to, and that
// member claims it. A stray packet does not move a tunnel whose owner lives (B5);
// if the owner turns out to have been dead, it counts as the first packet. A
// tunnel that no packet comes for is adopted after Config.AdoptAfter by the
// survivor on which all agree, so that it has an owner who keeps its time and
// probes its peer.
//
// After a heal of a divided network the higher epoch wins, but for one case: a
// tunnel that worked all the time at its owner is not lost to a part of the
// network that could not hear it. The owner that has heard the peer more
// recently claims it back, once (Title.Quiet).
//
// # Units
//
// Members can be one gateway together (Config.Unit): one of them, the primary, owns
// all that the unit owns, and the others stand by for it. Each says in every frame
// what the choice depends on (Standing), and each chooses by that (election.go): who
// steps back goes on until the next one has claimed what it owns, or is silent before
// the others hear of it where that one does not have all of it; and who is chosen waits
// for that as long as the old primary is heard. The new one promotes all at once; no
// packet is waited for (unit.go). A primary that is not heard, has no dataplane, or
// is none any more counts as dead for its tunnels. Other members, or units, of the
// group take over from a unit only when none of it is left.
//
// # Lives
//
// A returning member is Syncing until everybody that is there has told it
// everything, and does not pre-empt: it sees higher epochs, and stands by. A
// member that restarts faster than it is missed is dead all the same, as its
// Life is another.
//
// Where its dataplane has outlived the last life, nothing of that is flushed
// (estate.go). What it was armed for falls silent at once. What it owned sends on, up
// to the ceilings that it has, as one half of a divided group would: so I1 and I2 hold
// whoever has taken over meanwhile. Others give back what they have of these tunnels
// while it syncs (Return), or its own journal has them (Remembered); those that nobody
// has claimed by then it claims anew, without a packet's notice. What another owns
// stands by as soon as it is given. What nobody knows is deleted before anything is
// armed. A member that still holds its SAs is asked for their numbers like any other
// (judge).
package ha
