// Package offload is the contract between Evergate and a dataplane: what a
// plugin must do so that tunnels work, fail over and never reuse a nonce.
//
// A dataplane holds SAs (RFC 4301 section 4.4.2), encrypts, decrypts, checks
// replay and selectors, and reports where it put each SA. It knows nothing of
// IKE or of other members. Packets never cross this interface.
//
// The words in brackets name the clauses of the conformance suite (package
// offloadtest) that hold a dataplane to what stands before them. Package mem is
// the reference. CheckSA and its siblings are the checks that every dataplane
// shares.
//
// # A plugin
//
// A plugin is a program that serves one Engine. Package pluginrpc has all that
// lies between: its Serve is the whole main. The program knows this package, the
// vocabulary of core/ipsec and package pluginrpc, and ikesock where it owns UDP
// port 4500; plugins/examplenpu is one, in a module of its own.
//
//	func main() {
//		log := pluginrpc.NewLogger(os.Stderr, "ourplane", slog.LevelInfo)
//		os.Exit(pluginrpc.Serve(ourplane.New(log), log))
//	}
//
// The program offload-probe checks an executable; offloadtest.Run checks an Engine
// within go test, with packets too. In other languages offload.proto, beside this
// package, is the interface, and this text the meaning.
//
// # Calls
//
// The daemon is the only caller. In the order of a life:
//
//	Info        after every start; it answers before Configure too
//	Configure   then, and again when addresses or settings change
//	Events      then, for as long as the dataplane lives
//	Export      then, to reconcile with what a dataplane that lived on holds
//	Stats       when an operator or a metrics server asks
//	Install     an SA was negotiated (Active) or replicated (Standby)
//	Update      a lease, a peer's address, a replay checkpoint, an owner changed
//	Arm         a member died: once per survivor, with one more than its epoch
//	Promote     a unit takes over everything of a group
//	Demote      another member owns the group
//	Delete      IKE or the owner removed the SA
//
// What each takes, what it must never do, and how long the daemon can wait:
//
//	call       takes               changes                      never                          on which path
//	Info       nothing             nothing                      depends on when it is asked    start
//	Configure  Config              addresses, settings, boot    touches SAs, roles, epochs     start
//	Install    epoch, role, SAs    adds, replaces older ones    moves sequence state back      negotiation
//	Update     epoch, changes      what each Change names       moves sequence state back      lease, takeover
//	Delete     epoch, names        removes                      minds what is not there        rekeying
//	Arm        epoch, group        what a first packet does     looks at each SA, changes one  failover
//	Promote    epoch, group        roles of a group; disarms    touches another group          failover
//	Demote     epoch, group        roles of a group; disarms    returns before it is silent    takeover
//	Export     group or all        nothing                      yields an SA twice             replication
//	Stats      nothing             nothing                      lets a value fall              metrics
//	Events     nothing             who reads                    waits for the reader           always
//
// Negotiation, failover and takeover are waited for by peers: there a call takes
// milliseconds. Arm takes the same time whatever the number of SAs.
//
// Until Configure succeeded, all but Info, Configure and Events answer
// ErrNotConfigured [configure.first]. Info is the same whenever it is asked,
// and honest: the transforms that it lists can be installed in both directions
// [info.stable, info.honest, install.transforms]. Configure may be repeated;
// SAs, roles and epochs stay [configure.again]. A setting that the dataplane
// does not know is ErrInvalid, and the text names it [configure.settings].
//
// # The life of an SA in a dataplane
//
//	          Install(Standby)
//	absent -----------------------+
//	  |                           v
//	  |                      +---------+   inbound: decrypts and forwards
//	  |                      | standby |   outbound: drops, or gives to the owner's link
//	  |                      +---------+   first packet: FirstPacket, once
//	  |                        |     ^
//	  |   first packet while   |     |   Demote,
//	  |   armed: Activated;    |     |   Update(Role),
//	  |   Promote;             |     |   Install of a newer generation
//	  |   Update(Role);        |     |
//	  |   Install of a newer   v     |
//	  |   generation         +---------+   inbound: decrypts and forwards
//	  +--------------------->| active  |   outbound: sends Next, up to Ceiling
//	     Install(Active)     +---------+   lease low, or used up: LeaseLow
//
//	either, hard limit reached: Expired{Hard}, then it carries nothing
//	either, Delete, Reset or the end of the process: absent
//	either, moved into or out of an NPU: Placed
//
// An active SA sends and receives. A standby SA decrypts and forwards what
// arrives, as router and peer may know of a change before we do [standby.accepts],
// but sends nothing: outbound packets are dropped and counted (invariant I7)
// [standby.silent], or go to the owner over a link (see below). Its first packet, in either direction, is reported by one
// FirstPacket until its role changes [standby.reports].
//
// An SA keeps the name, ipsec.SAID, that it was installed under, also when an
// Update of its Endpoint makes the destination another one [update.endpoint].
// Peers choose the SPIs of outbound SAs, and two behind one NAT may choose the
// same: then their names differ in the port. A dataplane that tells outbound SAs
// apart by SPI and address only refuses the second one with ErrUnsupported
// [install.port].
//
// # Batches and idempotence
//
// Calls are batched. Placements are in the order of the arguments, one for each
// [install.places, update.places, update.fields]. What is wrong with one item stands in its
// Placement.Err, and the others are carried out [install.partial]. A batch of
// any length is taken; on the way through gRPC it may become several calls
// [batch.large]. An empty batch changes nothing [batch.empty].
//
// Calls are idempotent: the same call again succeeds and changes nothing
// [install.idempotent, update.idempotent, delete.idempotent, group.idempotent].
// An Install of the generation that is there, or of an older one, leaves the SA
// as it is, role and sequence state included [install.generation]. A newer
// generation replaces the description and sets the role; it keeps the counters
// and merges the sequence state [install.merge].
//
// Sequence state merges, from whatever call it comes: Next and Ceiling never
// fall, Highest never falls, and a number once marked as received stays so
// [update.sequence]. A Ceiling of 0 leaves a ceiling as it is. A bitmap covers
// what it covers: numbers left of it count as received.
//
// Delete returns the counters of those SAs that were there, in order; one that
// is not there is no error [delete.counters, delete.unknown].
//
// An Engine is safe for concurrent use [concurrent.calls]. No error text and
// no answer holds a key [keys.hidden].
//
// # Groups, epochs and roles
//
// A group is what fails over together: the SAs whose tunnels one member owns.
// Groups are numbered 0 to MaxGroups-1; any other is ErrInvalid, and AllGroups
// is for Export only [group.range]. Arm, Promote and Demote work on groups
// without SAs too, for SAs that come later.
//
// For each group the dataplane remembers the highest epoch that came with a
// successful call that touched it. A call with a lower one fails with
// ErrStaleEpoch as a whole, whichever of its items is concerned, and changes
// nothing (invariant I5) [epoch.stale, epoch.batch]. An equal one is fine
// [epoch.equal]. Groups do not see each other's epochs [epoch.groups]. A call
// touches the groups of the SAs that it installs, changes or deletes, and the
// group that a Change moves an SA to; an SA that is not there touches none.
//
// Arm(g) lets the standby SAs of g activate by themselves. It changes no role
// [arm.waits]. The first packet of a tunnel, in either direction, makes all SAs
// of that tunnel in g active, inside the dataplane and before that packet is
// dealt with, so that an outbound one is sent; other tunnels wait for their own
// [arm.inbound, arm.outbound]. One Activated with the epoch of the arming
// reports the tunnel, and no FirstPacket. Arming lasts until Demote or Promote
// of the group and covers SAs that come while it lasts [arm.later]. A dataplane that cannot
// see the first packet says so in Info.ReportsFirstPacket and answers
// ErrUnsupported [arm.unsupported].
//
// Promote(g) makes all SAs of g active now and ends the arming [group.promote, promote.disarms].
// Demote(g) makes all of them standby and disarms [group.demote]. Nothing is
// sent on them after it returns, not even what was in a queue before
// (invariant I7) [demote.silent]; a later packet reports, it does not activate
// [demote.disarms].
//
// # Links between members
//
// The network may hand a packet for a client to a member that does not own the
// tunnel. Two senders with one SA would break the peer's replay window, so the
// packet goes to the owner: over a link, a pair of tunnel mode SAs between the two
// members' own addresses, which SA.Link names the other end of. Keys come from
// what the members trust each other by; a link lasts as long as they do, so a
// packet never crosses in the clear. Where Info.Links is false, SAs of links are
// ErrUnsupported.
//
// An SA of a link selects nothing: it has no selectors, and is in tunnel mode
// [link.invalid]. It is of no group and no tunnel: its Install and Delete touch
// none, whatever their epoch; it is active whatever the role, and Arm, Promote and
// Demote pass it by; Export yields it with AllGroups only, and Counters.Link tells
// it apart [link.groups]. It has neither lease nor failover: after a Reset, or when
// the other end lost its state, the members make a new link with new keys. With ESN
// its numbers outlast the members.
//
// An outbound packet that a standby SA selects, whose group is not armed, leaves
// through the link to the group's member if there is one, whole and as it came. The
// standby counts it in Counters.Relayed, not as dropped; FirstPacket is reported as
// ever [link.carries]. Of several links to a member the newest by first
// installation carries, so that a link is replaced as a tunnel is: the inbound SA
// at both ends, then the outbound ones, then the old pair goes [link.newest]. While
// the group is armed the tunnel starts here instead [link.armed].
//
// A packet that arrives over a link is dealt with like one of our own network: the
// SA that selects it sends it, under its own numbers, limits and path MTU
// [link.arrives]. But it is never put on a link again, so nothing goes in circles
// when two members take each other for the owner: where the SA is standby here too,
// and does not start, or where none selects the packet, the link's SA counts it in
// Drops.Standby or Drops.Selector [link.once].
//
// The addresses of links are among Config.Addresses. Plain ESP is the natural
// choice there: between members is no NAT, and it leaves eight octets more for the
// packets of tunnels, which have a header of their own already. Encap is for networks
// that do not pass protocol 50. Header.DF should be ipsec.DFClear, as it is the
// path of the tunnel that senders must learn, from the owner, and not this one.
//
// # Sequence numbers and leases
//
// An active outbound SA sends Sequence.Next first, and then every number once
// [traffic.sequence], and counts what it carries [traffic.counters]. It stops after Ceiling: packets beyond are dropped and
// counted, never sent with a number that nobody leased (invariant I2)
// [ceiling.stops]. A dataplane that can only approximate says by how much in
// Info.CeilingMargin. Without a ceiling the end is the SA's highest number:
// "The transmitted sequence number must never be allowed to cycle" (RFC 4303
// section 2.2) [ceiling.cycle]; a Next beyond it sends nothing at all. With ESN
// the low half wraps, and the number goes on, in both directions
// [traffic.extended].
//
// A lease is what lies between Next and Ceiling when a call changes either.
// LeaseLow is sent once when less than half of it is left, and once more, with
// Exhausted, when a packet found none [ceiling.low]. A raised Ceiling is a new
// lease [ceiling.raise]. A promoted standby goes on from its own Next, which the
// core put above the last owner's Ceiling [promote.above].
//
// An SA whose Next is its highest number or more, and beyond its Ceiling, will never
// send again: only a successor can, as where new keys are the price of a takeover. Where
// Info.HoldsPackets says so, an active one keeps the packets that it selects, up to a
// limit of the dataplane in number, octets and time, and counts them in Counters.Held
// instead of Drops.Ceiling. They leave, in their order and dealt with like new ones, as
// soon as an outbound SA of the same tunnel is installed as active [hold.sends]. What
// finds no room, or waits too long, is counted in Drops.Queue. LeaseLow{Exhausted}
// reports the first of them as ever.
//
// Inbound, a number is accepted once; a replayed one and one left of the window
// are dropped and counted [replay.once, replay.window]. The window is as asked
// for, up to Info.MaxReplayWindow, and never off. Highest and Bitmap of Export
// can be imported elsewhere by Install or Update, and nothing is accepted there
// that was marked here (invariant I9) [replay.import].
//
// # IVs
//
// No (key, nonce) pair is used twice in the whole group of members, whatever
// fails (invariant I1). Info.IVSource says how a dataplane takes part:
//
//   - IVMember: the explicit IV of counter modes (RFC 4106 section 3.1) holds
//     SA.Sender in its top four bits [iv.sender] and Config.Boot below them, so that
//     a dataplane that starts again repeats none [iv.boot]. The rest counts, and does
//     not start again for an SA that is deleted and installed again: a boot is the
//     dataplane's whole life, not the SA's [iv.unique].
//   - IVSequence: the IV is the sequence number, so the leases alone keep
//     members apart.
//   - IVRandomSalt: collisions are improbable only.
//   - IVUnspecified: what is taken over has no numbers left to send with; the
//     core re-keys it first.
//
// Config.Boot never falls: Configure with a lower one is ErrInvalid
// [configure.boot]. After a Reset, whose lost counters would start again, it
// must be higher, and until then calls answer ErrNotConfigured [reset.configure].
//
// # Lifetimes
//
// Limits of packets and bytes count from the installation here. When a soft one
// is reached, Expired is sent once, and the SA goes on [lifetime.soft]. When a
// hard one is reached, Expired{Hard} is sent once, and later packets are dropped
// and counted; the packet that reaches a limit of bytes may still pass
// [lifetime.hard]. Either event comes at the latest with the next packet. Limits
// of time are the core's, which knows an SA's age on all members; a dataplane
// may count them too.
//
// # Stats
//
// What belongs to an SA is in its Counters. Stats has the rest: every packet that
// went no further, and those that are a dataplane's own, each kind under a name of
// its own. The names and their order are the same whenever it is asked
// [stats.names], and no value falls while the boot id stays [stats.counts].
//
// # Events, Overrun and Reset
//
// Events are kept while nobody reads, up to a limit of the dataplane. When it is
// reached newer ones are lost, and Overrun tells how many, in their place
// [events.overrun]. One stream at a time: a new one ends the older one without
// an error [events.single]. A stream whose context ends, ends without an error
// [events.end]. What was on its way when a stream broke is lost; so whoever
// opens a stream calls Export afterwards.
//
// Info.BootID changes whenever SAs were lost, with every process for one
// [boot.fresh], and Reset reports it while the process lives [reset.reports]. A
// Reset leaves no SA, epoch or arming.
//
// Overrun, Reset and a new stream all mean the same to the core: Export, compare,
// and repair what differs. Nothing is flushed, so tunnels that are right go on.
// Export yields each SA that was there before the call and after it once
// [export.complete], of the asked group only [export.groups], and stops when the
// caller does [export.break].
//
// # What a dataplane may refuse
//
// Not every dataplane can do everything. What it cannot do it says beforehand in
// Info, where there is a field for it, and when it is asked all the same:
//
//	it has not                         Info                       and answers
//	an algorithm, ESN, a key length    Transforms lacks it        ErrUnsupported, for the SA
//	transport mode                     TransportMode false        ErrUnsupported, for the SA
//	links between members              Links false                ErrUnsupported, for the SA
//	outbound SAs apart by port         -                          ErrUnsupported, for the second SA
//	an outer address family            -                          ErrUnsupported, for the SA or Change
//	room for another SA                MaxSAs                     ErrExhausted, for the SA
//	a longer replay window             MaxReplayWindow            nothing: the SA gets that one
//	eyes for the first packet          ReportsFirstPacket false   ErrUnsupported to Arm; no FirstPacket
//	an exact stop at the ceiling       CeilingMargin              nothing: it runs over by no more
//	any stop at the ceiling            EnforcesCeiling false      nothing: LeaseLow is all that it does
//	room for packets that must wait    HoldsPackets false         nothing: it drops them
//	member-unique IVs                  IVSource                   nothing: see "IVs"
//	NPU room, algorithms, directions   Transforms, in part        nothing: Placement.WhyNot
//
// An SA that no NPU takes is no reason to refuse it: software carries it, and
// Placement says why. What stands above this section is not for refusal: without
// epochs, standby roles, sequence numbers that never repeat and honest counters a
// group would lose what it exists for.
//
// # Versions
//
// The contract has a major and a minor version. The major one is
// pluginrpc.ProtocolVersion: when it differs, the daemon refuses the plugin, and
// the error says which version each side has. The minor one counts additions; a plugin
// and a daemon of different minor versions work together, each way round:
//
//   - A message gains fields, an enumeration values, the service calls. None is
//     removed, renumbered or given another meaning.
//   - A field that the other side does not send is zero, so zero always means what
//     was before the field was there.
//   - A call that a plugin does not have is ErrUnsupported to the daemon.
//   - An event of an unknown kind is passed over. An unknown IVSource is the most
//     careful one, an unknown reason why an SA is in no NPU that of the device.
//
// What came with each:
//
//	1.0  the contract
//	1.1  Stats
//	1.2  links between members: SA.Link, Info.Links, Counters.Link, Counters.Relayed;
//	     SAID.Port, so a plugin from before holds one SA of two that differ in it
//	1.3  Info.ContractMinor
//	1.4  packets that wait for a successor: Info.HoldsPackets, Counters.Held
//
// Each one is on record, and the conformance suite runs with each between a daemon
// and a dataplane of today. In Go, adding a method to Engine asks vendors for a
// change when they take a newer module; their executables run on.
//
// # Errors
//
//	call       fails with                        items fail with
//	Configure  ErrInvalid
//	Info
//	Install    ErrStaleEpoch, ErrInvalid (role)   ErrInvalid, ErrUnsupported, ErrExhausted
//	Update     ErrStaleEpoch                      ErrNotFound, ErrInvalid, ErrUnsupported
//	Delete     ErrStaleEpoch
//	Arm        ErrStaleEpoch, ErrInvalid, ErrUnsupported
//	Promote    ErrStaleEpoch, ErrInvalid
//	Demote     ErrStaleEpoch, ErrInvalid
//	Export     ErrInvalid
//	Stats
//	Events
//
// Beyond them ErrNotConfigured, ErrDown and the context's own. ErrInvalid is
// for arguments that contradict themselves [install.invalid, install.role];
// ErrUnsupported for what another dataplane could do [install.unsupported];
// ErrExhausted when Info.MaxSAs are in place [install.exhausted].
package offload
