package ha

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// The defaults of Config.
const (
	DefaultHeartbeat     = 50 * time.Millisecond // hb-interval
	DefaultLost          = 3                     // hb-lost-threshold
	DefaultMinAcks       = 1                     // sync.min-acks
	DefaultAckTimeout    = 50 * time.Millisecond // sync.ack-timeout
	DefaultJoinTimeout   = 2 * time.Second
	DefaultAdoptAfter    = 10 * time.Second
	DefaultAntiEntropy   = 10 * time.Second
	DefaultCountersEvery = time.Second
	// DefaultTombstoneLife outlasts the longest lifetime of an IKE SA, a day.
	DefaultTombstoneLife = 25 * time.Hour
	// DefaultAnswerLife is as long as a peer asks again.
	DefaultAnswerLife = 3 * time.Minute
)

// The frame protocol's versions that this package speaks: N and, once there is an N
// above 1, N-1. Members tell each other in every frame, and speak the highest that
// both know, so a group can be upgraded member by member.
const (
	MinProtocol = 1
	MaxProtocol = 1
)

// Config says how a Node works. What is zero has its default.
type Config struct {
	// Group is the standalone-group-id: frames of another are not for us.
	Group uint8
	// Member is our group-member-id, Members are all that are configured, with
	// or without us.
	Member  ipsec.MemberID
	Members Members

	// Heartbeat is how often the others hear from us. A member of which nothing
	// came for Lost heartbeats is dead.
	Heartbeat time.Duration
	Lost      int
	// MinAcks is how many live synced members must have what we published before
	// it is committed, and AckTimeout how long that may take.
	MinAcks    int
	AckTimeout time.Duration
	// JoinTimeout is how long a new life waits for members that are silent.
	JoinTimeout time.Duration
	// AdoptAfter is when the tunnels of a dead member that no packet has started
	// get a new owner, who can probe their peers and keep their time.
	AdoptAfter time.Duration
	// AntiEntropy is how often digests are compared with synced members.
	AntiEntropy time.Duration
	// CountersEvery is how often counters and replay checkpoints go out.
	CountersEvery time.Duration
	// TombstoneLife is how long it is known that a tunnel was removed.
	TombstoneLife time.Duration
	// AnswerLife is how long what the peer was answered then is kept with it.
	AnswerLife time.Duration

	// Lease is how many sequence numbers an owner may use before it must ask
	// for more; 0 means ipsec.LeaseSize.
	Lease uint64
	// Nonces says how our own dataplane keeps its nonces apart from those of
	// others, as far as it is known; SetNonces tells it later.
	Nonces Nonces
	// Journal has Ready.Journal say what a next life would need.
	Journal bool
	// NewDisk becomes the name of the storage when it is empty: at random, not 0.
	NewDisk DiskID

	// Unit joins us to members that are one gateway together; nil for none.
	Unit *Unit

	Limits Limits
	// MinProtocol and MaxProtocol are the versions of the frame protocol that this
	// member speaks; the zero values mean those of the package.
	MinProtocol, MaxProtocol uint16
}

// Limits bound what others can make us keep. Zero fields have defaults.
type Limits struct {
	// Queue and QueueOctets bound what waits for one member. One that is slower
	// falls out, and must sync again.
	Queue       int
	QueueOctets int
	// Window is how many records may be under way to one member unacknowledged.
	Window int
	// Tunnels bounds the copies that we hold, Children those of one tunnel.
	Tunnels  int
	Children int
	// Tombstones bounds the memory of what was removed. Past it the oldest go.
	Tombstones int
	// Answers bounds how many of them have an answer, AnswerOctets the length of
	// each. Past Answers the oldest go, and their tombstones stay.
	Answers, AnswerOctets int
	// Uncommitted bounds what waits for acknowledgements.
	Uncommitted int
	// Strays bounds the memory of tunnels whose traffic came here before the
	// death of their owner was known.
	Strays int
	// Classes bounds the connections that a member may announce.
	Classes int
}

func (c Config) withDefaults() Config {
	c.Members = c.Members.With(c.Member)
	c.Heartbeat = cmp.Or(c.Heartbeat, DefaultHeartbeat)
	c.Lost = cmp.Or(c.Lost, DefaultLost)
	c.MinAcks = cmp.Or(c.MinAcks, DefaultMinAcks)
	c.AckTimeout = cmp.Or(c.AckTimeout, DefaultAckTimeout)
	c.JoinTimeout = cmp.Or(c.JoinTimeout, DefaultJoinTimeout)
	c.AdoptAfter = cmp.Or(c.AdoptAfter, DefaultAdoptAfter)
	c.AntiEntropy = cmp.Or(c.AntiEntropy, DefaultAntiEntropy)
	c.CountersEvery = cmp.Or(c.CountersEvery, DefaultCountersEvery)
	c.TombstoneLife = cmp.Or(c.TombstoneLife, DefaultTombstoneLife)
	c.AnswerLife = cmp.Or(c.AnswerLife, DefaultAnswerLife)
	c.Lease = cmp.Or(c.Lease, ipsec.LeaseSize)
	c.MinProtocol = cmp.Or(c.MinProtocol, MinProtocol)
	c.MaxProtocol = cmp.Or(c.MaxProtocol, MaxProtocol)
	l := &c.Limits
	l.Queue = cmp.Or(l.Queue, 1<<16)
	l.QueueOctets = cmp.Or(l.QueueOctets, 64<<20)
	l.Window = cmp.Or(l.Window, 1<<12)
	l.Tunnels = cmp.Or(l.Tunnels, 1<<20)
	l.Children = cmp.Or(l.Children, 1<<10)
	l.Tombstones = cmp.Or(l.Tombstones, 1<<20)
	l.Answers = cmp.Or(l.Answers, 1<<13)
	l.AnswerOctets = cmp.Or(l.AnswerOctets, 1<<11)
	l.Uncommitted = cmp.Or(l.Uncommitted, 1<<16)
	l.Strays = cmp.Or(l.Strays, 1<<16)
	l.Classes = cmp.Or(l.Classes, 1<<12)
	return c
}

// maxCount leaves room for the member in an epoch, and for counting on.
const maxCount = 1<<60 - 1<<20

func (c Config) check(hard HardState) error {
	switch {
	case c.Member >= ipsec.MaxMembers:
		return fmt.Errorf("ha: member id %d is above %d", c.Member, ipsec.MaxMembers-1)
	case c.Heartbeat < 0 || c.Lost < 0 || c.MinAcks < 0 || c.AckTimeout < 0 || c.JoinTimeout < 0 ||
		c.AdoptAfter < 0 || c.AntiEntropy < 0 || c.CountersEvery < 0 || c.TombstoneLife < 0 || c.AnswerLife < 0:
		return errors.New("ha: a time or count of the configuration is negative")
	case c.MinProtocol > c.MaxProtocol:
		return fmt.Errorf("ha: protocol versions %d to %d are none", c.MinProtocol, c.MaxProtocol)
	case c.Lease < shares || c.Lease%shares != 0:
		return fmt.Errorf("ha: a lease of %d numbers cannot be cut into %d slices", c.Lease, shares)
	case hard.Disk == 0 && c.NewDisk == 0:
		return errors.New("ha: the storage is empty and has no new name")
	case hard.Life == 1<<32-1:
		return errors.New("ha: the lives of this storage have come to their end")
	case hard.Count >= maxCount:
		return fmt.Errorf("ha: epoch count %d on disk is beyond all that is used", hard.Count)
	}
	return c.Unit.check()
}
